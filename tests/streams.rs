//! Messages that a handler reads while they arrive: with back-pressure, to their end, and not beyond.

mod support;

use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::ContainerBuilder;
use endpoint_runtime::prelude::*;
use flate2::{Compress, FlushCompress};
use futures_util::StreamExt;
use support::{BINARY, CLOSE, CONTINUATION, Client, Journal, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// Reads as it is told by the first word, or byte.
#[server_endpoint("/read", compression = on)]
struct Reader {
    journal: Journal,
    gate: Arc<Notify>,
    kept: Option<BinaryStream>,
}

impl Reader {
    #[on_message(max_total = 5_000_000)]
    async fn binary(&mut self, mut body: BinaryStream, session: &Session) -> Result<Option<String>, Error> {
        match body.read_u8().await? {
            b'c' => {
                // by the trait, by name, by the other trait
                let first = body.next().await.transpose()?.map_or(0, |piece| piece.len());
                let mut rest = Vec::new();
                body.read_to_end(&mut rest).await?;
                assert!(StreamExt::next(&mut body).await.is_none());
                return Ok(Some(format!("{} bytes", 1 + first + rest.len())));
            }
            b'h' => {
                self.journal.note("holding");
                self.gate.notified().await;
                let mut total = 1;
                while let Some(piece) = body.next().await {
                    total += piece?.len();
                }
                return Ok(Some(format!("{total} bytes held")));
            }
            b'k' => self.kept = Some(body),
            b'e' => {
                self.journal.note("early");
                return Ok(Some("early".to_owned()));
            }
            b'f' => {
                let error = loop {
                    match body.next().await {
                        Some(Ok(_)) => self.journal.note("piece"),
                        Some(Err(error)) => break error,
                        None => return Ok(Some("the end".to_owned())),
                    }
                };
                assert!(body.next().await.is_none());
                self.journal.note(format!("failed {error:?}"));
            }
            _ => session.close(),
        }
        Ok(None)
    }

    #[on_message]
    async fn text(&mut self, mut text: TextStream) -> Result<String, Error> {
        let mut whole = String::new();
        while let Some(piece) = text.next().await {
            whole.push_str(&piece?);
        }
        if whole == "hold" {
            self.journal.note("holding");
            self.gate.notified().await;
        }
        if let Some(mut kept) = self.kept.take() {
            let mut count = 0;
            while let Some(Ok(piece)) = kept.next().await {
                count += piece.len();
            }
            self.journal.note(format!("kept {}", count < 100));
        }
        Ok(whole)
    }

    #[on_message]
    fn pong(&self, _pong: Pong) -> String {
        "pong".to_owned()
    }

    #[on_error]
    fn error(&self, error: &Error) {
        self.journal.note(format!("error {error:?}"));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {}", reason.code()));
    }
}

/// Takes parts up to a limit.
#[server_endpoint("/parts", compression = on)]
#[derive(Default)]
struct Parts;

impl Parts {
    #[on_message(max_total = 5)]
    fn text(&self, part: &str, last: bool) -> String {
        format!("{part} {last}")
    }
    #[on_message(max_total = "100KB")]
    async fn binary(&self, _part: Bytes, last: bool) -> Option<&'static str> {
        last.then_some("whole")
    }
}

struct Served {
    server: TestServer,
    journal: Journal,
    gate: Arc<Notify>,
}

impl Served {
    async fn new() -> Self {
        Self::with(|container| container).await
    }

    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
        let (own, its) = (journal.clone(), gate.clone());
        let container = ServerContainer::builder()
            .register::<Parts>()
            .endpoint_with(move |_| Ok(Reader { journal: own.clone(), gate: its.clone(), kept: None }));
        Self { server: TestServer::with(set(container)).await, journal, gate }
    }
}

#[tokio::test]
async fn message_is_read_to_its_end_however_it_is_cut() {
    let served = Served::new().await;
    let mut client = served.server.connect("/read").await;
    client.binary(b"c").await;
    client.expect_text("1 bytes").await;
    client.binary(b"c23").await;
    client.expect_text("3 bytes").await;
    client.send(BINARY, "").await;
    client.send(CONTINUATION, "c").await;
    client.send(CONTINUATION, "23").await;
    client.send(CONTINUATION, "").await;
    client.send(0x80 | CONTINUATION, "").await;
    client.expect_text("3 bytes").await;
    // byte by byte
    for byte in frame(0x80 | BINARY, b"c23456") {
        client.send_raw(&[byte]).await;
    }
    client.expect_text("6 bytes").await;
    // several in one segment, with a large one between
    let large = [b"c", &vec![7; 1_000_000][..]].concat();
    let all = [frame(0x80 | BINARY, b"c2"), frame(0x80 | BINARY, &large), frame(0x80 | TEXT, b"text")].concat();
    client.send_raw(&all).await;
    client.expect_text("2 bytes").await;
    client.expect_text("1000001 bytes").await;
    client.expect_text("text").await;
    let text = "aé言\u{1f980}".repeat(30_000);
    let (mut reader, mut writer) = client.stream.split();
    let (bytes, expected) = (frame(0x80 | TEXT, text.as_bytes()), text.len());
    let mut came = vec![0; expected];
    let writing = async { writer.write_all(&bytes).await };
    let reading = async {
        let mut head = [0; 10];
        reader.read_exact(&mut head).await.unwrap();
        reader.read_exact(&mut came).await
    };
    let (written, read) = soon(async { tokio::join!(writing, reading) }).await;
    written.unwrap();
    read.unwrap();
    assert!(came == text.as_bytes());
}

#[tokio::test]
async fn handler_runs_before_the_message_is_complete_and_pings_are_answered_meanwhile() {
    let served = Served::new().await;
    let mut client = served.server.connect("/read").await;
    client.send(BINARY, "h").await;
    served.journal.expect("holding").await;
    client.send(0x80 | PING, "there?").await;
    assert_eq!(client.expect(PONG).await, b"there?");
    client.send(CONTINUATION, "12").await;
    client.send(0x80 | PONG, "").await;
    client.expect_silence().await;
    client.send(0x80 | CONTINUATION, "34").await;
    client.text("after").await;
    served.gate.notify_one();
    client.expect_text("5 bytes held").await;
    client.expect_text("pong").await;
    client.expect_text("after").await;
}

#[tokio::test]
async fn parts_received_during_another_handler_belong_to_the_stream() {
    let served = Served::new().await;
    let mut client = served.server.connect("/read").await;
    client.text("hold").await;
    served.journal.expect("holding").await;
    client.send(BINARY, "c2").await;
    client.send(CONTINUATION, "34").await;
    client.send(0x80 | PONG, "").await;
    client.send(CONTINUATION, "56").await;
    client.expect_silence().await;
    served.gate.notify_one();
    client.expect_text("hold").await;
    client.send(0x80 | CONTINUATION, "78").await;
    client.expect_text("8 bytes").await;
    client.expect_text("pong").await;
    // and a whole one behind it
    client.text("hold").await;
    served.journal.expect("holding").await;
    client.send(BINARY, "c2").await;
    client.send(0x80 | CONTINUATION, "34").await;
    client.binary(b"c").await;
    client.expect_silence().await;
    served.gate.notify_one();
    client.expect_text("hold").await;
    client.expect_text("4 bytes").await;
    client.expect_text("1 bytes").await;
}

#[tokio::test]
async fn peer_is_slowed_down_by_a_handler_that_does_not_read() {
    let served = Served::with(|container| container.idle_timeout(None)).await;
    let mut client = served.server.connect("/read").await;
    client.send(BINARY, "h").await;
    served.journal.expect("holding").await;
    let (part, mut taken) = (frame(CONTINUATION, &[7; 50_000]), 0);
    // until nothing more is taken: the handler has room for little, the kernel for some
    while let Ok(count) =
        tokio::time::timeout(Duration::from_millis(300), client.stream.write(&part[taken % part.len()..])).await
    {
        taken += count.unwrap();
        assert!(taken < 60 << 20, "{taken} bytes were taken");
    }
    assert!(taken > 200_000);
    served.journal.rest();
}

#[tokio::test]
async fn unread_rest_of_a_message_is_discarded() {
    let served = Served::new().await;
    let mut client = served.server.connect("/read").await;
    client.send(BINARY, "e").await;
    served.journal.expect("early").await;
    client.expect_text("early").await;
    for _ in 0..40 {
        client.send(CONTINUATION, vec![7; 100_000]).await;
    }
    client.send(0x80 | PING, "").await;
    assert_eq!(client.expect(PONG).await, b"");
    client.send(0x80 | CONTINUATION, "c").await;
    client.binary(b"c2").await;
    client.expect_text("2 bytes").await;
    // all of it in one segment
    let all = [frame(BINARY, b"e1"), frame(CONTINUATION, b"c"), frame(0x80 | CONTINUATION, b"c"), frame(0x82, b"c2")];
    client.send_raw(&all.concat()).await;
    client.expect_text("early").await;
    client.expect_text("2 bytes").await;
}

#[tokio::test]
async fn kept_stream_ends_with_an_error_and_blocks_nothing() {
    let served = Served::new().await;
    let mut client = served.server.connect("/read").await;
    client.send(BINARY, "k23").await;
    for _ in 0..40 {
        client.send(CONTINUATION, vec![7; 100_000]).await;
    }
    client.send(0x80 | CONTINUATION, "").await;
    client.text("on").await;
    client.expect_text("on").await;
    served.journal.expect("kept true").await;
}

#[tokio::test]
async fn truncated_message_ends_with_an_error() {
    for (end, failed, then) in [
        (Some(frame(0x80 | CLOSE, &[3, 232])), "Closed", "close 1000"),
        (None, "Closed", "close 1006"),
        // a message in a message
        (Some(frame(0x80 | BINARY, b"")), "Protocol", "error Protocol"),
    ] {
        let served = Served::new().await;
        let mut client = served.server.connect("/read").await;
        client.send(BINARY, "f").await;
        client.send(CONTINUATION, "2").await;
        served.journal.expect("piece").await;
        match end {
            Some(bytes) => client.send_raw(&bytes).await,
            None => drop(client),
        }
        let next = served.journal.next().await;
        assert!(next.starts_with(&format!("failed {failed}")), "{next}");
        let next = served.journal.next().await;
        assert!(next.starts_with(then), "{next}");
    }
}

#[tokio::test]
async fn more_than_the_total_ends_the_session_with_1009() {
    let served = Served::new().await;
    let mut client = served.server.connect("/parts").await;
    client.send(TEXT, "12").await;
    client.expect_text("12 false").await;
    client.send(0x80 | CONTINUATION, "345").await;
    client.expect_text("345 true").await;
    client.text("12345").await;
    client.expect_text("12345 true").await;
    client.send(TEXT, "1234").await;
    client.expect_text("1234 false").await;
    client.send(CONTINUATION, "56").await;
    client.expect_close(1009).await;
    // an async one, of a single frame
    let mut client = served.server.connect("/parts").await;
    client.binary(&[7; 100_000]).await;
    client.expect_text("whole").await;
    client.binary(&[7; 100_001]).await;
    client.expect_close(1009).await;
    // a stream's handler hears of it, too
    let mut client = served.server.connect("/read").await;
    client.send(BINARY, "f").await;
    for _ in 0..50 {
        client.send(CONTINUATION, vec![7; 100_000]).await;
    }
    client.expect_close(1009).await;
    loop {
        let next = served.journal.next().await;
        if next != "piece" {
            assert!(next.starts_with("failed TooBig"), "{next}");
            break;
        }
    }
}

#[tokio::test]
async fn compressed_message_is_read_while_it_arrives_and_its_total_is_what_it_inflates_to() {
    let served = Served::new().await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    for (size, fits) in [(5_000_000, true), (5_000_001, false)] {
        let mut client = Client::connect_with(served.server.addr, "/read", &[offer]).await;
        let (mut data, mut packed) = (vec![7; size], Vec::with_capacity(100_000));
        data[0] = b'c';
        Compress::new(flate2::Compression::default(), false)
            .compress_vec(&data, &mut packed, FlushCompress::Sync)
            .unwrap();
        packed.truncate(packed.len() - 4);
        let (first, rest) = packed.split_at(packed.len() / 2);
        client.send(0x40 | BINARY, first).await;
        client.send(0x80 | PING, "").await;
        assert_eq!(client.expect(PONG).await, b"");
        client.send(0x80 | CONTINUATION, rest).await;
        if fits {
            client.expect_text("5000000 bytes").await;
        } else {
            client.expect_close(1009).await;
        }
    }
}

#[tokio::test]
async fn handler_may_close_in_the_middle() {
    let served = Served::new().await;
    let mut client = served.server.connect("/read").await;
    client.send(BINARY, "x").await;
    client.expect_close(1000).await;
    client.send(CONTINUATION, "more").await;
    client.close(1000, "").await;
    client.expect_end().await;
    served.journal.expect("close 1000").await;
}
