//! Messages in parts and by writers: whole or not at all, never mixed with others, and nobody waits for ever.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Initiator};
use flate2::{Decompress, FlushDecompress};
use futures_util::StreamExt;
use support::{BINARY, CLOSE, CONTINUATION, Client, Frame, Journal, PING, TEXT, TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Hands its session to the test, echoes, and does in a handler what it is asked for.
#[server_endpoint("/write")]
struct Writing {
    sessions: UnboundedSender<Session>,
    journal: Journal,
}

impl Writing {
    #[on_open]
    fn open(&self, session: Session) {
        self.sessions.send(session).unwrap();
    }

    #[on_message]
    async fn text(&self, message: String, session: &Session) -> Result<String, Error> {
        if message == "write" {
            let mut writer = session.basic_remote().text_writer();
            writer.write_text("one, ").await?;
            session.basic_remote().send_text("second").await?;
            session.async_remote().send_text("third").await?;
            writer.flush().await?;
            // more than a handler's own send may gather before it waits for the socket
            session.basic_remote().send_binary(vec![7; 100_000]).await?;
            writer.write_text("two").await?;
            writer.finish().await?;
            session.basic_remote().send_text("fifth").await?;
        }
        Ok(message)
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_error]
    fn error(&self, error: &Error) {
        self.journal.note(format!("error {error:?}"));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
    }
}

struct Served {
    server: TestServer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
}

impl Served {
    async fn new() -> Self {
        Self::with(|container| container).await
    }

    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal) = (unbounded_channel(), Journal::default());
        let own = journal.clone();
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Writing { sessions: sender.clone(), journal: own.clone() }));
        Self { server: TestServer::with(set(container)).await, sessions, journal }
    }

    async fn session(&mut self) -> Session {
        soon(self.sessions.recv()).await.unwrap()
    }

    async fn open(&mut self) -> (Client, Session) {
        (self.server.connect("/write").await, self.session().await)
    }

    async fn open_compressed(&mut self) -> (Client, Session) {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate";
        (Client::connect_with(self.server.addr, "/write", &[offer]).await, self.session().await)
    }
}

/// The frames of the next message, which has `opcode`: whether each is compressed, and what it carries.
async fn parts(client: &mut Client, opcode: u8) -> Vec<(u8, Vec<u8>)> {
    let mut parts = Vec::new();
    loop {
        let frame = client.frame().await.expect("a frame");
        let expected = if parts.is_empty() { opcode } else { CONTINUATION };
        assert_eq!(frame.opcode, expected, "{frame:?} after {} parts", parts.len());
        parts.push((frame.rsv, frame.payload));
        if frame.fin {
            return parts;
        }
    }
}

/// The next message, which is sent in more than one frame.
async fn joined(client: &mut Client, opcode: u8) -> Vec<u8> {
    let parts = parts(client, opcode).await;
    assert!(parts.len() > 1 && parts.iter().all(|(rsv, _)| *rsv == 0), "{parts:?}");
    parts.into_iter().flat_map(|(_, part)| part).collect()
}

// ---- writers ----

#[tokio::test]
async fn writes_are_parts_of_one_message_until_finish() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let mut writer = session.basic_remote().text_writer();
    for piece in ["one, ", "two, "] {
        soon(writer.write_text(piece)).await.unwrap();
        soon(writer.flush()).await.unwrap();
    }
    let first = client.frame().await.unwrap();
    assert_eq!(first, Frame { fin: false, rsv: 0, opcode: TEXT, payload: b"one, ".to_vec() });
    soon(writer.write_text(String::from("three"))).await.unwrap();
    soon(writer.finish()).await.unwrap();
    let second = client.frame().await.unwrap();
    assert_eq!(second, Frame { fin: false, rsv: 0, opcode: CONTINUATION, payload: b"two, ".to_vec() });
    let third = client.frame().await.unwrap();
    assert_eq!(third, Frame { fin: true, rsv: 0, opcode: CONTINUATION, payload: b"three".to_vec() });
    client.text("on").await;
    client.expect_text("on").await;
    assert_eq!((session.queued_bytes(), session.is_open()), (0, true));
}

#[tokio::test]
async fn small_pieces_leave_together() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let mut writer = session.basic_remote().binary_writer();
    for number in 0..100u8 {
        soon(writer.write_binary(vec![number])).await.unwrap();
    }
    soon(writer.finish()).await.unwrap();
    assert_eq!(client.expect(BINARY).await, (0..100).collect::<Vec<u8>>());
}

#[tokio::test]
async fn without_a_write_nothing_is_sent_and_an_empty_write_is_an_empty_message() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    soon(session.basic_remote().text_writer().finish()).await.unwrap();
    soon(session.basic_remote().binary_writer().shutdown()).await.unwrap();
    drop(session.basic_remote().text_writer());
    session.basic_remote().binary_writer().abort();
    client.expect_silence().await;
    let mut writer = session.basic_remote().text_writer();
    soon(writer.write_text("")).await.unwrap();
    soon(writer.finish()).await.unwrap();
    client.expect_text("").await;
    let mut writer = session.basic_remote().binary_writer();
    soon(writer.write_binary(vec![])).await.unwrap();
    soon(writer.shutdown()).await.unwrap();
    assert_eq!(client.expect(BINARY).await, b"");
}

#[tokio::test]
async fn sends_wait_behind_an_open_writer_and_control_frames_pass() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let (mut witness, _other) = served.open().await;
    soon(session.basic_remote().send_text("before")).await.unwrap();
    let mut writer = session.basic_remote().text_writer();
    soon(writer.write_text("one, ")).await.unwrap();
    let whole = tokio::spawn({
        let session = session.clone();
        async move { session.basic_remote().send_text("whole").await }
    });
    let handed = loop {
        // behind the basic one
        if session.queued_bytes() >= 5 {
            break session.async_remote().send_binary(vec![1, 2]);
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(session.open_sessions().async_remote().send_text("to all").sent, 2);
    session.async_remote().send_ping("p").unwrap();
    // a reply of its handler
    client.text("reply").await;
    witness.expect_text("to all").await;
    client.expect_text("before").await;
    assert_eq!(client.expect(PING).await, b"p");
    client.expect_silence().await;
    soon(writer.flush()).await.unwrap();
    soon(writer.write_text("two")).await.unwrap();
    client.send(0x80 | PING, "between").await;
    let first = client.frame().await.unwrap();
    assert_eq!((first.fin, first.opcode, &first.payload[..]), (false, TEXT, &b"one, "[..]));
    assert_eq!(client.expect(support::PONG).await, b"between");
    assert!(!whole.is_finished());
    soon(writer.finish()).await.unwrap();
    let rest = client.frame().await.unwrap();
    assert_eq!((rest.fin, rest.opcode, &rest.payload[..]), (true, CONTINUATION, &b"two"[..]));
    client.expect_text("whole").await;
    assert_eq!(client.expect(BINARY).await, [1, 2]);
    client.expect_text("to all").await;
    client.expect_text("reply").await;
    soon(whole).await.unwrap().unwrap();
    soon(handed.into_future()).await.unwrap();
    assert_eq!(session.queued_bytes(), 0);
}

#[tokio::test]
async fn handler_may_send_while_its_writer_is_open() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    client.text("write").await;
    assert_eq!(joined(&mut client, TEXT).await, b"one, two");
    client.expect_text("second").await;
    client.expect_text("third").await;
    assert_eq!(client.expect(BINARY).await, vec![7; 100_000]);
    client.expect_text("fifth").await;
    client.expect_text("write").await;
    assert!(session.is_open());
}

#[tokio::test]
async fn writers_and_messages_arrive_in_start_order() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let basic = session.basic_remote();
    let mut first = basic.text_writer();
    soon(first.write_text("1")).await.unwrap();
    session.async_remote().send_text("2");
    let (mut gone, mut third) = (basic.text_writer(), basic.binary_writer());
    // each asks for its turn; one is not waited for any more
    let pending = tokio::time::timeout(Duration::from_millis(1), gone.write_text("never")).await;
    assert!(pending.is_err());
    let third = tokio::spawn(async move {
        third.write_binary(vec![3]).await.unwrap();
        third.flush().await.unwrap();
        third.write_binary(vec![3]).await.unwrap();
        third.finish().await
    });
    tokio::task::yield_now().await;
    session.async_remote().send_text("4");
    drop(gone);
    client.expect_silence().await;
    soon(first.finish()).await.unwrap();
    client.expect_text("1").await;
    client.expect_text("2").await;
    assert_eq!(joined(&mut client, BINARY).await, [3, 3]);
    client.expect_text("4").await;
    soon(third).await.unwrap().unwrap();
    client.text("on").await;
    client.expect_text("on").await;
}

#[tokio::test]
async fn many_writers_at_a_time_never_mix() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    for number in 0..20u8 {
        let session = session.clone();
        tokio::spawn(async move {
            let mut writer = session.basic_remote().binary_writer();
            for _ in 0..5 {
                writer.write_all(&[number; 1000]).await.unwrap();
                writer.flush().await.unwrap();
                session.async_remote().send_text("between").queued().unwrap();
                tokio::task::yield_now().await;
            }
            writer.finish().await.unwrap();
        });
    }
    let (mut seen, mut texts) = (Vec::new(), 0);
    while seen.len() < 20 || texts < 100 {
        let mut first = client.frame().await.unwrap();
        if first.opcode == TEXT {
            assert!(first.fin);
            texts += 1;
            continue;
        }
        assert_eq!(first.opcode, BINARY);
        while !first.fin {
            let next = client.frame().await.unwrap();
            assert_eq!(next.opcode, CONTINUATION);
            first.payload.extend(next.payload);
            first.fin = next.fin;
        }
        assert_eq!(first.payload, vec![first.payload[0]; 5000]);
        assert!(!seen.contains(&first.payload[0]));
        seen.push(first.payload[0]);
    }
}

#[tokio::test]
async fn characters_may_be_cut_between_writes_and_never_are_between_parts() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let text = "aé言\u{1f980}".repeat(10_000);
    let mut writer = session.basic_remote().text_writer();
    for piece in text.as_bytes().chunks(7) {
        soon(writer.write_all(piece)).await.unwrap();
    }
    soon(writer.shutdown()).await.unwrap();
    let parts = parts(&mut client, TEXT).await;
    assert!(parts.len() > 3);
    let parts: Vec<String> = parts.into_iter().map(|(_, part)| String::from_utf8(part).unwrap()).collect();
    assert!(parts.concat() == text);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_fail_the_message_and_end_the_session() {
    for (written, rest) in [(&b"ab\xff"[..], None), (b"ab\xe8\xa8", Some("c")), (b"ab\xe8\xa8", None)] {
        let mut served = Served::new().await;
        let (mut client, session) = served.open().await;
        let mut writer = session.basic_remote().text_writer();
        let mut result = soon(writer.write_all(written)).await.map_err(Error::user);
        if let Some(rest) = rest {
            assert!(result.is_ok());
            result = soon(writer.write_text(rest)).await;
        }
        assert_eq!(result.is_ok(), rest.is_none() && written.len() == 4);
        assert!(soon(writer.finish()).await.unwrap_err().is_encode());
        assert_eq!(client.expect_close(1011).await, "a message was not finished");
        served.journal.expect("close 1011 by Application").await;
    }
}

#[tokio::test]
async fn unfinished_message_ends_the_session_with_1011_and_is_never_whole() {
    for (flushed, aborted) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut served = Served::new().await;
        let (mut client, session) = served.open().await;
        let mut writer = session.basic_remote().binary_writer();
        soon(writer.write_binary(vec![1, 2, 3])).await.unwrap();
        if flushed {
            soon(writer.flush()).await.unwrap();
            let first = client.frame().await.unwrap();
            assert_eq!(first, Frame { fin: false, rsv: 0, opcode: BINARY, payload: vec![1, 2, 3] });
        }
        let behind = session.async_remote().send_text("behind");
        if aborted {
            writer.abort();
        } else {
            drop(writer);
        }
        assert_eq!(client.expect_close(1011).await, "a message was not finished");
        client.close(1011, "").await;
        client.expect_end().await;
        assert!(soon(behind.into_future()).await.unwrap_err().is_closed());
        served.journal.expect("close 1011 by Application").await;
    }
}

#[tokio::test]
async fn close_passes_an_unfinished_message_and_fails_its_writer() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let mut writer = session.basic_remote().text_writer();
    soon(writer.write_text("one, ")).await.unwrap();
    soon(writer.flush()).await.unwrap();
    session.close();
    assert!(soon(writer.write_text("two")).await.unwrap_err().is_closed());
    let first = client.frame().await.unwrap();
    assert_eq!((first.fin, &first.payload[..]), (false, &b"one, "[..]));
    client.expect_close(1000).await;
    drop(writer);
    served.journal.expect("close 1000 by Application").await;
    client.close(1000, "").await;
    client.expect_end().await;
}

#[tokio::test]
async fn messages_behind_a_finished_one_go_before_the_close_frame() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let mut writer = session.basic_remote().text_writer();
    soon(writer.write_text("one")).await.unwrap();
    for _ in 0..3 {
        session.async_remote().send_binary(vec![2; 50_000]);
    }
    soon(writer.finish()).await.unwrap();
    session.close();
    client.expect_text("one").await;
    for _ in 0..3 {
        assert_eq!(client.expect(BINARY).await, vec![2; 50_000]);
    }
    client.expect_close(1000).await;
}

#[tokio::test]
async fn writer_waits_for_a_slow_peer_and_fails_after_the_send_timeout() {
    let mut served = Served::with(|container| container.send_timeout(Duration::from_secs(1))).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let stream = soon(socket.connect(served.server.addr)).await.unwrap();
    let _deaf = Client::upgrade(stream, "/write").await;
    let session = served.session().await;
    let mut writer = session.basic_remote().binary_writer();
    let (mut most, chunk) = (0, Bytes::from(vec![7; 100_000]));
    let error = soon(async {
        loop {
            if let Err(error) = writer.write_binary(chunk.clone()).await {
                return error;
            }
            most = most.max(session.queued_bytes());
        }
    })
    .await;
    assert!(error.is_timeout() || error.is_closed(), "{error:?}");
    assert!(most < 500_000, "{most} bytes were queued");
    drop(writer);
    served.journal.expect(&format!("close 1006 by {:?}", Initiator::Container)).await;
}

#[tokio::test]
async fn large_message_is_written_as_fast_as_it_is_read() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let writing = tokio::spawn(async move {
        let mut writer = session.basic_remote().binary_writer();
        for number in 0..200u8 {
            writer.write_binary(vec![number; 50_000]).await?;
        }
        writer.finish().await
    });
    let whole = joined(&mut client, BINARY).await;
    assert_eq!(whole.len(), 10_000_000);
    assert!(whole.chunks(50_000).enumerate().all(|(number, chunk)| chunk.iter().all(|byte| *byte == number as u8)));
    soon(writing).await.unwrap().unwrap();
}

// ---- parts ----

#[tokio::test]
async fn parts_of_the_basic_remote_are_one_message() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let basic = session.basic_remote();
    for (part, last) in [("A", false), ("", false), ("B", false), ("", true)] {
        soon(basic.send_text_part(part, last)).await.unwrap();
    }
    let text = parts(&mut client, TEXT).await;
    assert_eq!(text, [(0, b"A".to_vec()), (0, b"B".to_vec()), (0, vec![])]);
    soon(basic.send_binary_part(vec![1; 10_000], false)).await.unwrap();
    soon(basic.send_binary_part(vec![2; 10], true)).await.unwrap();
    assert_eq!(joined(&mut client, BINARY).await, [vec![1; 10_000], vec![2; 10]].concat());
    soon(basic.send_text_part("whole", true)).await.unwrap();
    client.expect_text("whole").await;
}

#[tokio::test]
async fn parts_of_the_async_remote_are_one_message_and_others_wait_behind() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let remote = session.async_remote();
    soon(remote.send_text_part("A", false).into_future()).await.unwrap();
    let behind = remote.send_text("behind");
    // the other kind has to wait, and this remote does not
    assert!(remote.send_binary_part(vec![1], true).queued().unwrap_err().is_queue_full());
    remote.send_text_part("B", false);
    let last = remote.send_text_part("C", true);
    assert_eq!(joined(&mut client, TEXT).await, b"ABC");
    client.expect_text("behind").await;
    soon(last.into_future()).await.unwrap();
    soon(behind.into_future()).await.unwrap();
}

#[tokio::test]
async fn part_waits_while_another_message_in_parts_is_open() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    let basic = session.basic_remote();
    let mut writer = basic.text_writer();
    soon(writer.write_text("writer")).await.unwrap();
    assert!(session.async_remote().send_text_part("part", true).queued().is_err());
    {
        let mut part = std::pin::pin!(basic.send_text_part("part", true));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(part.as_mut().poll(cx).is_pending())).await);
        soon(writer.finish()).await.unwrap();
        soon(part).await.unwrap();
    }
    client.expect_text("writer").await;
    client.expect_text("part").await;
    // the other way round
    soon(basic.send_text_part("part, ", false)).await.unwrap();
    let mut writer = basic.text_writer();
    {
        let mut write = std::pin::pin!(writer.write_text("writer"));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx).is_pending())).await);
        soon(basic.send_text_part("end", true)).await.unwrap();
        soon(write).await.unwrap();
    }
    soon(writer.finish()).await.unwrap();
    assert_eq!(joined(&mut client, TEXT).await, b"part, end");
    client.expect_text("writer").await;
}

// ---- compression ----

/// Inflates the parts of a message, by a context that goes on.
fn inflated(context: &mut Decompress, parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    for (index, (rsv, _)) in parts.iter().enumerate() {
        assert_eq!(*rsv, if index == 0 { 4 } else { 0 }, "the reserved bit of part {index}");
    }
    let bytes = parts.iter().flat_map(|(_, part)| part.clone()).chain([0, 0, 0xff, 0xff]).collect::<Vec<u8>>();
    let before = context.total_in();
    let mut out = Vec::with_capacity(1 << 20);
    context.decompress_vec(&bytes, &mut out, FlushDecompress::Sync).unwrap();
    assert_eq!(context.total_in() - before, bytes.len() as u64, "all of it was read");
    out
}

#[tokio::test]
async fn compressed_writer_makes_one_compressed_message_with_and_without_context() {
    for keep in [false, true] {
        let compression = Compression::ON.context_takeover(keep).threshold(10);
        let mut served = Served::with(|container| container.compression(compression)).await;
        let (mut client, session) = served.open_compressed().await;
        let mut context = Decompress::new(false);
        for round in 0..3 {
            let text = format!("to be or not to be {round}; ").repeat(2_000);
            let mut writer = session.basic_remote().text_writer();
            for piece in text.as_bytes().chunks(9_000) {
                soon(writer.write_all(piece)).await.unwrap();
            }
            let behind = session.async_remote().send_text("behind all of it, and compressed");
            soon(writer.flush()).await.unwrap();
            soon(writer.finish()).await.unwrap();
            soon(behind.into_future()).await.unwrap();
            let parts = parts(&mut client, TEXT).await;
            assert!(parts.len() > 3);
            if !keep {
                context.reset(false);
            }
            assert!(inflated(&mut context, &parts) == text.as_bytes(), "round {round}, takeover {keep}");
            let behind = client.frame().await.unwrap();
            assert!(behind.fin);
            if behind.rsv == 0 {
                assert_eq!(behind.payload, b"behind all of it, and compressed");
            } else {
                if !keep {
                    context.reset(false);
                }
                let behind = inflated(&mut context, &[(behind.rsv, behind.payload)]);
                assert_eq!(behind, b"behind all of it, and compressed");
            }
        }
        // as it is, and below the threshold
        let mut plain = session.basic_remote().uncompressed().text_writer();
        soon(plain.write_text("x".repeat(50_000))).await.unwrap();
        soon(plain.finish()).await.unwrap();
        assert_eq!(joined(&mut client, TEXT).await, "x".repeat(50_000).as_bytes());
        let mut small = session.basic_remote().text_writer();
        soon(small.write_text("small")).await.unwrap();
        soon(small.finish()).await.unwrap();
        client.expect_text("small").await;
        soon(session.basic_remote().send_text_part("a part that is long enough", false)).await.unwrap();
        soon(session.basic_remote().send_text_part("", true)).await.unwrap();
        if !keep {
            context.reset(false);
        }
        assert_eq!(inflated(&mut context, &parts(&mut client, TEXT).await), b"a part that is long enough");
    }
}

// ---- others ----

#[tokio::test]
async fn foreign_client_reads_what_writers_wrote() {
    let mut served = Served::new().await;
    let url = format!("ws://{}/write", served.server.addr);
    let (mut client, _) = soon(tokio_tungstenite::connect_async(url)).await.unwrap();
    let session = served.session().await;
    let text = "aé言".repeat(20_000);
    let own = text.clone();
    tokio::spawn(async move {
        let mut writer = session.basic_remote().text_writer();
        for piece in own.as_bytes().chunks(4_001) {
            writer.write_all(piece).await.unwrap();
            session.async_remote().send_ping("").unwrap();
        }
        session.async_remote().send_binary(vec![5; 100_000]);
        writer.shutdown().await.unwrap();
        session.close();
    });
    let (mut texts, mut data) = (Vec::new(), Vec::new());
    while let Some(Ok(message)) = soon(client.next()).await {
        match message {
            tokio_tungstenite::tungstenite::Message::Text(text) => texts.push(text.to_string()),
            tokio_tungstenite::tungstenite::Message::Binary(bytes) => data.push(bytes),
            _ => {}
        }
    }
    assert!(texts == [text]);
    assert!(data == [vec![5; 100_000]]);
}

#[tokio::test]
async fn unfinished_parts_end_with_the_connection() {
    let mut served = Served::new().await;
    let (mut client, session) = served.open().await;
    soon(session.basic_remote().send_text_part("A", false)).await.unwrap();
    client.close(1000, "").await;
    let first = client.frame().await.unwrap();
    assert_eq!((first.fin, first.opcode), (false, TEXT));
    let close = client.frame().await.unwrap();
    assert_eq!(close.opcode, CLOSE);
    served.journal.expect("close 1000 by Peer").await;
    let mut rest = Vec::new();
    assert_eq!(soon(client.stream.read_to_end(&mut rest)).await.unwrap(), 0);
    assert!(soon(session.basic_remote().send_text_part("B", true)).await.unwrap_err().is_closed());
}
