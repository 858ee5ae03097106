//! Handlers that take a message in parts, as they arrive: which parts they get, and what they never get.

mod support;

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;
use support::{BINARY, CONTINUATION, Client, Journal, PING, PONG, TEXT, TestServer, frame};

/// Text and binary in parts, by ordinary functions; what came, and whether it was the last, is the reply.
#[server_endpoint("/sync")]
#[derive(Default)]
struct Direct;

impl Direct {
    #[on_message]
    fn text(&mut self, part: &str, last: bool) -> String {
        format!("{part}({last})")
    }

    #[on_message]
    fn binary(&self, last: bool, part: &[u8]) -> Vec<u8> {
        [part, format!("({last})").as_bytes()].concat()
    }
}

/// The same by async functions, which suspend.
#[server_endpoint("/async")]
#[derive(Default)]
struct Suspending;

impl Suspending {
    #[on_message]
    async fn text(&mut self, last: bool, part: String) -> String {
        tokio::task::yield_now().await;
        format!("{part}({last})")
    }

    #[on_message]
    async fn binary(&self, part: Bytes, last: bool) -> Vec<u8> {
        tokio::task::yield_now().await;
        [&part[..], format!("({last})").as_bytes()].concat()
    }
}

/// Puts the parts together itself, and replies at the last (the TCK's variant with a session).
#[server_endpoint("/session")]
#[derive(Default)]
struct Together {
    text: String,
    data: Vec<u8>,
}

impl Together {
    #[on_message]
    fn text(&mut self, session: &Session, part: &str, last: bool) {
        self.text += &format!("{part}({last})");
        if last {
            session.async_remote().send_text(std::mem::take(&mut self.text));
        }
    }

    #[on_message]
    async fn binary(&mut self, part: Vec<u8>, last: bool, session: Session) -> Result<(), Error> {
        self.data.extend(part);
        if last { session.basic_remote().send_binary(std::mem::take(&mut self.data)).await } else { Ok(()) }
    }
}

#[server_endpoint("/param/{param}")]
#[derive(Default)]
struct Param;

impl Param {
    #[on_message]
    fn text(&self, part: Text, #[path_param("param")] param: &str, last: bool) -> String {
        format!("{part}({last}){param}")
    }

    #[on_message]
    async fn binary(&self, #[path_param("param")] param: String, part: Binary, last: bool) -> Vec<u8> {
        [&part[..], format!("({last}){param}").as_bytes()].concat()
    }
}

/// Text in parts, binary whole.
#[server_endpoint("/mixed", max_message_size = 10)]
struct Mixed {
    journal: Journal,
}

impl Mixed {
    #[on_message]
    fn text(&self, part: &str, last: bool) {
        self.journal.note(format!("text {} {last}", part.len()));
    }

    #[on_message]
    fn binary(&self, data: &[u8]) {
        self.journal.note(format!("binary {}", data.len()));
    }

    #[on_error]
    fn error(&self, error: &Error) {
        self.journal.note(format!("error protocol {} too big {}", error.is_protocol(), error.is_too_big()));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {}", reason.code()));
    }
}

async fn server() -> TestServer {
    TestServer::with(
        ServerContainer::builder()
            .register::<Direct>()
            .register::<Suspending>()
            .register::<Together>()
            .register::<Param>(),
    )
    .await
}

async fn mixed() -> (TestServer, Client, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Mixed { journal: own.clone() }));
    let server = TestServer::with(container).await;
    let client = server.connect("/mixed").await;
    (server, client, journal)
}

const MODES: [&str; 2] = ["/sync", "/async"];

/// Reads replies of `kind` to the one that says `last`; what the parts were. Each reply ends in `(false)` or `(true)`.
async fn parts(client: &mut Client, kind: u8) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    loop {
        let mut reply = client.expect(kind).await;
        for (ending, last) in [("(true)", true), ("(false)", false)] {
            if reply.ends_with(ending.as_bytes()) {
                reply.truncate(reply.len() - ending.len());
                parts.push(reply);
                if last {
                    return parts;
                }
                break;
            }
        }
    }
}

#[tokio::test]
async fn fragments_are_parts() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        for kind in [TEXT, BINARY] {
            client.send(kind, "A").await;
            assert_eq!(client.expect(kind).await, b"A(false)", "{path}");
            client.send(CONTINUATION, "B").await;
            assert_eq!(client.expect(kind).await, b"B(false)", "{path}");
            client.send(0x80 | CONTINUATION, "C").await;
            assert_eq!(client.expect(kind).await, b"C(true)", "{path}");
        }
    }
}

#[tokio::test]
async fn fragments_in_one_segment_are_parts_in_order() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        for kind in [TEXT, BINARY] {
            let mut segment = frame(kind, b"0");
            for number in 1..1_000 {
                segment.extend(frame(CONTINUATION, number.to_string().as_bytes()));
            }
            segment.extend(frame(0x80 | CONTINUATION, b"1000"));
            client.send_raw(&segment).await;
            for number in 0..=1_000 {
                let expected = format!("{number}({})", number == 1_000);
                assert_eq!(client.expect(kind).await, expected.as_bytes(), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn reply_is_sent_for_each_part_with_a_path_param_too() {
    let server = server().await;
    let mut client = server.connect("/param/p").await;
    for kind in [TEXT, BINARY] {
        client.send(kind, "A").await;
        assert_eq!(client.expect(kind).await, b"A(false)p");
        client.send(0x80 | CONTINUATION, "B").await;
        assert_eq!(client.expect(kind).await, b"B(true)p");
    }
}

#[tokio::test]
async fn parts_can_be_put_together_by_the_endpoint() {
    let server = server().await;
    let mut client = server.connect("/session").await;
    client.send(TEXT, "A").await;
    client.send(0x80 | CONTINUATION, "B").await;
    client.expect_text("A(false)B(true)").await;
    client.send(BINARY, [1, 2]).await;
    client.send(CONTINUATION, [3]).await;
    client.send(0x80 | CONTINUATION, [4]).await;
    assert_eq!(client.expect(BINARY).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn whole_message_is_one_last_part() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        for (kind, first) in [(TEXT, "whole"), (BINARY, "data"), (TEXT, ""), (BINARY, "")] {
            client.send(0x80 | kind, first).await;
            assert_eq!(client.expect(kind).await, format!("{first}(true)").as_bytes(), "{path}");
        }
    }
}

#[tokio::test]
async fn last_part_may_be_empty() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        for kind in [TEXT, BINARY] {
            client.send(kind, "A").await;
            client.send(0x80 | CONTINUATION, "").await;
            assert_eq!(parts(&mut client, kind).await, [&b"A"[..], b""], "{path}");
        }
    }
}

#[tokio::test]
async fn empty_fragments_before_the_last_are_no_parts() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        for kind in [TEXT, BINARY] {
            client.send(kind, "").await;
            client.send(CONTINUATION, "").await;
            client.send(CONTINUATION, "A").await;
            client.send(CONTINUATION, "").await;
            client.send(0x80 | CONTINUATION, "B").await;
            assert_eq!(parts(&mut client, kind).await, [b"A", b"B"], "{path}");
        }
    }
}

#[tokio::test]
async fn part_of_a_frame_is_delivered_before_the_frame_is_complete() {
    let server = server().await;
    for path in MODES {
        for kind in [TEXT, BINARY] {
            let mut client = server.connect(path).await;
            let bytes = frame(0x80 | kind, b"first half second half");
            let half = bytes.len() - 11;
            client.send_raw(&bytes[..half]).await;
            assert_eq!(client.expect(kind).await, b"first half (false)", "{path}");
            client.send_raw(&bytes[half..]).await;
            assert_eq!(client.expect(kind).await, b"second half(true)", "{path}");
        }
    }
}

#[tokio::test]
async fn large_frame_comes_in_several_parts_that_make_it_up() {
    let server = server().await;
    let payload: Vec<u8> = (0..3_000_000u32).map(|i| b'a' + (i % 26) as u8).collect();
    for path in MODES {
        for kind in [TEXT, BINARY] {
            let mut client = server.connect(path).await;
            client.send(0x80 | kind, &payload).await;
            let parts = parts(&mut client, kind).await;
            assert!(parts.len() > 1, "{path}: {} part", parts.len());
            assert!(parts.concat() == payload, "{path}");
        }
    }
}

#[tokio::test]
async fn character_is_never_split_wherever_the_fragments_are() {
    let server = server().await;
    let text = "aé言\u{1f980}b";
    for path in MODES {
        let mut client = server.connect(path).await;
        for cut in 0..=text.len() {
            client.send(TEXT, &text.as_bytes()[..cut]).await;
            client.send(0x80 | CONTINUATION, &text.as_bytes()[cut..]).await;
            let parts = parts(&mut client, TEXT).await;
            for part in &parts {
                assert!(std::str::from_utf8(part).is_ok(), "{path} cut at {cut}: {part:?}");
            }
            assert_eq!(parts.concat(), text.as_bytes(), "{path} cut at {cut}");
        }
    }
}

#[tokio::test]
async fn character_is_never_split_when_every_byte_is_a_fragment() {
    let server = server().await;
    let text = "aé言\u{1f980}b";
    for path in MODES {
        let mut client = server.connect(path).await;
        for (index, byte) in text.bytes().enumerate() {
            client.send(if index == 0 { TEXT } else { CONTINUATION }, [byte]).await;
        }
        client.send(0x80 | CONTINUATION, "").await;
        let expected = ["a", "é", "言", "\u{1f980}", "b", ""].map(|part| part.as_bytes().to_vec());
        assert_eq!(parts(&mut client, TEXT).await, expected, "{path}");
    }
}

#[tokio::test]
async fn character_is_never_split_within_a_frame_that_arrives_in_pieces() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        let bytes = frame(0x80 | TEXT, "a\u{1f980}b".as_bytes());
        // to the middle of the second character
        client.send_raw(&bytes[..bytes.len() - 3]).await;
        client.expect_text("a(false)").await;
        client.send_raw(&bytes[bytes.len() - 3..]).await;
        client.expect_text("\u{1f980}b(true)").await;
    }
}

#[tokio::test]
async fn ping_between_fragments_is_answered_between_the_parts() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        for kind in [TEXT, BINARY] {
            client.send(kind, "A").await;
            assert_eq!(client.expect(kind).await, b"A(false)", "{path}");
            client.send(0x80 | PING, "between").await;
            assert_eq!(client.expect(PONG).await, b"between", "{path}");
            client.send(0x80 | PONG, "unasked").await;
            client.send(0x80 | CONTINUATION, "B").await;
            assert_eq!(client.expect(kind).await, b"B(true)", "{path}");
        }
    }
}

#[tokio::test]
async fn close_between_fragments_ends_the_message_without_a_last_part() {
    let (_server, mut client, journal) = mixed().await;
    client.send(TEXT, "A").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    journal.expect("text 1 false").await;
    journal.expect("close 1000").await;
}

#[tokio::test]
async fn other_kind_is_taken_whole_beside_parts() {
    let (_server, mut client, journal) = mixed().await;
    client.send(TEXT, "A").await;
    client.send(0x80 | CONTINUATION, "BC").await;
    client.send(BINARY, "A").await;
    client.send(0x80 | CONTINUATION, "BC").await;
    client.text("D").await;
    for noted in ["text 1 false", "text 2 true", "binary 3", "text 1 true"] {
        journal.expect(noted).await;
    }
}

#[tokio::test]
async fn limit_for_whole_messages_is_not_one_for_parts() {
    let (_server, mut client, journal) = mixed().await;
    // each part, and the message, are larger than the ten bytes for whole messages
    for round in 0..3 {
        client.send(if round == 0 { TEXT } else { CONTINUATION }, "x".repeat(100)).await;
        journal.expect("text 100 false").await;
    }
    client.send(0x80 | CONTINUATION, "x".repeat(100)).await;
    journal.expect("text 100 true").await;
    client.binary(&[0; 10]).await;
    journal.expect("binary 10").await;
    client.binary(&[0; 11]).await;
    client.expect_close(1009).await;
    journal.expect("error protocol false too big true").await;
    journal.expect("close 1009").await;
}

#[tokio::test]
async fn another_message_between_the_parts_breaks_the_protocol() {
    let (_server, mut client, journal) = mixed().await;
    client.send(TEXT, "A").await;
    client.binary(b"in between").await;
    client.expect_close(1002).await;
    journal.expect("text 1 false").await;
    journal.expect("error protocol true too big false").await;
    journal.expect("close 1002").await;
}

#[tokio::test]
async fn bad_utf8_in_a_part_closes_with_1007_after_the_good_ones() {
    let server = server().await;
    // fragments, and what the good parts among them are
    let cases: [(&[&[u8]], &[&str]); 5] = [
        (&[b"good", b"\xff"], &["good"]),
        (&[b"good", b"also\xff"], &["good"]),
        // an overlong form, and a surrogate
        (&[b"good", b"\xc0\x80"], &["good"]),
        (&[b"a\xed", b"\xa0\x80"], &["a"]),
        // a character that is broken off by the next fragment
        (&[b"a\xe8\xa8", b"b"], &["a"]),
    ];
    for path in MODES {
        for (fragments, good) in cases {
            let mut client = server.connect(path).await;
            for (index, fragment) in fragments.iter().enumerate() {
                client.send(if index == 0 { TEXT } else { CONTINUATION }, fragment).await;
            }
            for part in good {
                client.expect_text(&format!("{part}(false)")).await;
            }
            client.expect_close(1007).await;
        }
    }
}

#[tokio::test]
async fn character_that_is_incomplete_at_the_end_closes_with_1007() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        client.send(TEXT, b"a\xe8").await;
        client.expect_text("a(false)").await;
        client.send(0x80 | CONTINUATION, b"\xa8").await;
        client.expect_close(1007).await;
    }
}

#[tokio::test]
async fn bad_utf8_is_noticed_before_its_frame_is_complete() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        let bytes = frame(0x80 | TEXT, b"good\xffand much that never comes");
        client.send_raw(&bytes[..bytes.len() - 10]).await;
        client.expect_close(1007).await;
    }
}

#[tokio::test]
async fn messages_one_after_another_do_not_mix() {
    let server = server().await;
    for path in MODES {
        let mut client = server.connect(path).await;
        let mut segment = Vec::new();
        for number in 0..200 {
            let kind = if number % 2 == 0 { TEXT } else { BINARY };
            segment.extend(frame(kind, format!("{number}a").as_bytes()));
            segment.extend(frame(0x80 | PING, b"p"));
            segment.extend(frame(0x80 | CONTINUATION, format!("{number}b").as_bytes()));
        }
        client.send_raw(&segment).await;
        for number in 0..200 {
            let kind = if number % 2 == 0 { TEXT } else { BINARY };
            let mut heard = Vec::new();
            while heard.len() < 2 {
                match client.frame().await.unwrap() {
                    support::Frame { opcode: PONG, .. } => {}
                    frame => heard.push((frame.opcode, String::from_utf8(frame.payload).unwrap())),
                }
            }
            assert_eq!(heard, [(kind, format!("{number}a(false)")), (kind, format!("{number}b(true)"))], "{path}");
        }
    }
}
