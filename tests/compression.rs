//! permessage-deflate (RFC 7692): what is agreed, what is compressed, and what a wrong message comes to.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ClientContainer, Compression, Report};
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use support::raw_server::RawServer;
use support::{BINARY, CLOSE, CONTINUATION, Client, Frame, Journal, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::sync::Semaphore;

const RSV1: u8 = 0x40;
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate";

// ---- endpoints ----

#[server_endpoint("/echo", compression = on(threshold = 16), max_message_size = 1000)]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> Text {
        text.into()
    }
    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }
}

#[server_endpoint("/keep", compression = on(context_takeover = true, threshold = 0, level = 6))]
#[derive(Default)]
struct Keep;

impl Keep {
    #[on_message]
    async fn text(&self, text: String) -> String {
        text
    }
    #[on_message]
    fn binary(&self, data: &[u8]) -> Binary {
        data.into()
    }
}

/// Says nothing of compression.
#[server_endpoint("/silent")]
#[derive(Default)]
struct Silent;

impl Silent {
    #[on_message]
    fn text(&self, text: &str) -> Text {
        text.into()
    }
}

const LEVEL: u32 = 12;

#[server_endpoint("/hard", compression = on(level = LEVEL))]
#[derive(Default)]
struct TooHard;

#[server_endpoint("/off", compression = off)]
#[derive(Default)]
struct Off;

impl Off {
    #[on_message]
    fn text(&self, text: &str) -> Text {
        text.into()
    }
}

#[server_endpoint("/narrow", compression = on(window_bits = 9))]
#[derive(Default)]
struct Narrow;

impl Narrow {
    #[on_message]
    fn binary(&self, data: &[u8]) -> Binary {
        data.into()
    }
}

/// Tells what was agreed.
#[server_endpoint("/agreed", compression = on(window_bits = 12))]
#[derive(Default)]
struct Agreed;

impl Agreed {
    #[on_open]
    async fn open(&self, session: &Session) -> Result<(), Error> {
        let [extension] = session.extensions() else {
            return session.basic_remote().send_text("nothing").await;
        };
        let parameters: Vec<String> = extension.parameters().map(|(name, value)| format!("{name} {value:?}")).collect();
        assert_eq!(extension.name(), "permessage-deflate");
        session.basic_remote().send_text(format!("{extension} | {}", parameters.join(", "))).await
    }
    #[on_message]
    fn text(&self, _text: &str) {}
}

#[server_endpoint("/parts", compression = on)]
struct Parts(Journal);

impl Parts {
    #[on_message]
    fn text(&self, part: &str, last: bool) {
        self.0.note(format!("{part}{}", if last { "." } else { "" }));
    }
    #[on_message]
    async fn binary(&self, part: Binary, last: bool) {
        self.0.note(format!("{}{}", part.len(), if last { "." } else { "" }));
    }
}

/// Sends in each way it is told to.
#[server_endpoint("/say", compression = on)]
struct Say(Journal);

impl Say {
    #[on_open]
    fn open(&self, session: &Session) {
        self.0.note(format!("open {}", session.open_sessions().len()));
    }
    #[on_message]
    async fn text(&self, way: String, session: &Session) -> Result<Option<String>, Error> {
        let text = long();
        match &*way {
            "return" => return Ok(Some(text)),
            "return letters" => return Ok(Some(letters(20_000))),
            "basic" => session.basic_remote().send_text(text).await?,
            "basic binary" => session.basic_remote().send_binary(text.into_bytes()).await?,
            "basic plain" => session.basic_remote().uncompressed().send_text(text).await?,
            "async" => drop(session.async_remote().send_text(text)),
            "async binary" => drop(session.async_remote().send_binary(text.into_bytes())),
            "async plain" => drop(session.async_remote().uncompressed().send_text(text)),
            "all" => drop(session.open_sessions().async_remote().send_text(text)),
            "all plain" => drop(session.open_sessions().async_remote().uncompressed().send_text(text)),
            "all noise" => drop(session.open_sessions().async_remote().send_binary(noise(20_000))),
            "all large" => drop(session.open_sessions().async_remote().send_binary(pattern(100_000))),
            _ => {}
        }
        Ok(None)
    }
    #[on_close]
    fn close(&self) {
        self.0.note("close");
    }
}

/// Notes how often the others had their turn before each message.
#[server_endpoint("/heavy", compression = on)]
struct Heavy {
    turns: Arc<AtomicUsize>,
    journal: Journal,
}

impl Heavy {
    #[on_message]
    fn binary(&self, data: &[u8]) {
        assert!(data.len() == 1 << 20 || data == b"little");
        self.journal.note(self.turns.load(Ordering::Relaxed).to_string());
    }
}

/// As [`Say`], with the contexts kept.
#[server_endpoint("/crowd", compression = on(context_takeover = true))]
struct Crowd(Journal);

impl Crowd {
    #[on_message]
    async fn text(&self, _: String, session: &Session) -> String {
        // five at once into a queue of two: which of them are refused must not matter to those that are not
        for number in 0..5 {
            let sent = session.async_remote().send_text(format!("{number} {}", long()));
            self.0.note(format!("{number} {}", sent.queued().is_ok()));
        }
        long()
    }
    #[on_close]
    fn close(&self) {
        self.0.note("close");
    }
}

// ---- content ----

/// Compresses well, and is above the default threshold.
fn long() -> String {
    "to be or not to be; ".repeat(50)
}

/// Does not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Compresses a little.
fn letters(len: usize) -> String {
    noise(len).into_iter().map(|byte| char::from(b'a' + byte % 16)).collect()
}

/// Repeats itself only at a distance of 600 bytes, which a window of 9 bits does not reach.
fn pattern(len: usize) -> Vec<u8> {
    noise(600).into_iter().cycle().take(len).collect()
}

// ---- the client's side of compression ----

/// One context for each direction.
struct Codec {
    compress: Compress,
    decompress: Decompress,
}

impl Codec {
    fn new() -> Self {
        Self::with_window(15)
    }

    fn with_window(bits: u8) -> Self {
        let compress = Compress::new_with_window_bits(flate2::Compression::default(), false, bits);
        Self { compress, decompress: Decompress::new_with_window_bits(false, bits) }
    }

    fn pack(&mut self, data: impl AsRef<[u8]>) -> Vec<u8> {
        let data = data.as_ref();
        let mut out = Vec::with_capacity(data.len() * 2 + 100);
        self.compress.compress_vec(data, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]), "{data:?} gave {out:02x?}");
        out.truncate(out.len() - 4);
        out
    }

    fn unpack(&mut self, data: &[u8]) -> Vec<u8> {
        let data = [data, &[0, 0, 0xff, 0xff]].concat();
        let before = self.decompress.total_in();
        let mut out = Vec::with_capacity(1 << 20);
        self.decompress.decompress_vec(&data, &mut out, FlushDecompress::Sync).unwrap();
        assert_eq!(self.decompress.total_in() - before, data.len() as u64, "all of it was read");
        out
    }

    /// The next message, which must be compressed, and how long it was on the wire.
    async fn message(&mut self, client: &mut Client, opcode: u8) -> (Vec<u8>, usize) {
        match client.frame().await {
            Some(Frame { fin: true, rsv: 4, opcode: came, payload }) if came == opcode => {
                (self.unpack(&payload), payload.len())
            }
            other => panic!("expected a compressed message with opcode {opcode}, got {other:?}"),
        }
    }
}

fn packed(data: impl AsRef<[u8]>) -> Vec<u8> {
    Codec::new().pack(data)
}

/// What the server made a fresh context for.
async fn message(client: &mut Client, opcode: u8) -> Vec<u8> {
    Codec::new().message(client, opcode).await.0
}

async fn connect(server: &TestServer, path: &str, offer: &str) -> Client {
    let line = format!("{OFFER}{offer}");
    let (answer, client) = Client::try_connect(server.addr, path, &[&line]).await;
    let extensions = answer.header("sec-websocket-extensions").unwrap_or_default();
    assert!(extensions.starts_with("permessage-deflate"), "{offer:?} was answered with {answer:?}");
    client
}

// ---- what is agreed ----

#[tokio::test]
async fn each_offer_has_its_response_and_the_session_reports_it() {
    let server = TestServer::of::<Agreed>().await;
    for (lines, agreed) in [
        (&[][..], ""),
        (&["permessage-deflate"], "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (
            &["permessage-deflate; client_max_window_bits"],
            "permessage-deflate; client_max_window_bits=12; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            &["permessage-deflate; client_max_window_bits=8"],
            "permessage-deflate; client_max_window_bits=8; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            &["permessage-deflate; client_no_context_takeover; server_max_window_bits=\"9\""],
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=9; server_no_context_takeover",
        ),
        (
            &[
                "x-other; a=b",
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; mystery",
                "permessage-deflate; server_max_window_bits=15",
            ],
            "permessage-deflate; server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover",
        ),
        (&["permessage-deflate; server_max_window_bits=8"], ""),
        (&["permessage-deflate; server_max_window_bits"], ""),
        (&["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], ""),
        (&["permessage-deflate; client_max_window_bits=16"], ""),
        (&["permessage-deflate; =,"], ""),
        (&["permessage-deflate", "\""], ""),
        (&["x-webkit-deflate-frame"], ""),
    ] {
        let lines: Vec<String> = lines.iter().map(|line| format!("Sec-WebSocket-Extensions: {line}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (answer, mut client) = Client::try_connect(server.addr, "/agreed", &lines).await;
        assert_eq!(answer.status, 101, "{lines:?}");
        assert_eq!(answer.header("sec-websocket-extensions").unwrap_or_default(), agreed, "{lines:?}");
        let parameters: Vec<String> = agreed
            .split("; ")
            .skip(1)
            .map(|parameter| match parameter.split_once('=') {
                Some((name, value)) => format!("{name} {:?}", Some(value)),
                None => format!("{parameter} {:?}", None::<&str>),
            })
            .collect();
        let expected =
            if agreed.is_empty() { "nothing".into() } else { format!("{agreed} | {}", parameters.join(", ")) };
        client.expect_text(&expected).await;
    }
}

#[tokio::test]
async fn compression_is_off_by_default() {
    let container = || ServerContainer::builder().register::<Silent>().register::<Off>().register::<Echo>();
    for (container, silent) in [(container(), false), (container().compression(Compression::ON), true)] {
        let server = TestServer::with(container).await;
        for (path, on) in [("/silent", silent), ("/off", false), ("/echo", true)] {
            let (answer, mut client) = Client::try_connect(server.addr, path, &[OFFER]).await;
            assert_eq!(answer.header("sec-websocket-extensions").is_some(), on, "{path}");
            client.text("hello").await;
            client.expect_text("hello").await;
            // and never for a client that does not ask
            let (answer, _client) = Client::try_connect(server.addr, path, &[]).await;
            assert_eq!(answer.header("sec-websocket-extensions"), None, "{path}");
        }
    }
}

#[tokio::test]
async fn settings_out_of_range_are_not_deployed() {
    for (compression, about) in [
        (Compression::ON.level(10), "level 10"),
        (Compression::ON.window_bits(8), "window size of 8 bits"),
        (Compression::ON.window_bits(16), "window size of 16 bits"),
    ] {
        let built = ServerContainer::builder().register::<Silent>().compression(compression).build();
        let error = built.expect_err("a mistake");
        assert!(error.is_deployment() && error.to_string().contains(about), "{error}");
        // an endpoint that says something itself does not mind
        ServerContainer::builder().register::<Echo>().compression(compression).build().unwrap();
    }
    // what the attribute cannot know is known here
    let error = ServerContainer::builder().register::<TooHard>().build().expect_err("a mistake");
    assert!(error.is_deployment() && error.to_string().contains("TooHard") && error.to_string().contains("level 12"));
}

#[tokio::test]
async fn exhausted_budget_opens_sessions_without_compression() {
    let journal = Journal::default();
    let noted = journal.clone();
    let container = ServerContainer::builder()
        .endpoint_with(move |_| Ok(Crowd(noted.clone())))
        .register::<Echo>()
        .compression_budget(450_000);
    let server = TestServer::with(container).await;
    let mut first = connect(&server, "/crowd", "").await;
    for path in ["/crowd", "/crowd"] {
        let (answer, mut client) = Client::try_connect(server.addr, path, &[OFFER]).await;
        assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None));
        client.close(1000, "").await;
        client.expect_close(1000).await;
        journal.expect("close").await;
    }
    // one that forgets takes nothing while it is idle
    connect(&server, "/echo", "").await;
    first.close(1000, "").await;
    first.expect_close(1000).await;
    journal.expect("close").await;
    connect(&server, "/crowd", "").await;

    let server = TestServer::with(ServerContainer::builder().register::<Echo>().compression_budget(0)).await;
    let (answer, _client) = Client::try_connect(server.addr, "/echo", &[OFFER]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None));
}

// ---- what comes in ----

#[tokio::test]
async fn messages_come_in_every_legal_form() {
    let server = TestServer::of::<Echo>().await;
    let mut client = connect(&server, "/echo", "").await;
    // compressed, plain, compressed without need, empty
    for (first, payload, reply) in [
        (0x81 | RSV1, packed("hello"), "hello"),
        (0x81, b"hello".to_vec(), "hello"),
        (0x81 | RSV1, vec![0x00], ""),
        (0x81 | RSV1, vec![], ""),
        // two blocks, a stored block, and blocks that are marked as the last (RFC 7692 §7.2.3)
        (0x81 | RSV1, vec![0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
        (0x81 | RSV1, vec![0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
        (0x81 | RSV1, vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
        (0x81 | RSV1, vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
        (0x81 | RSV1, [[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]; 2].concat(), "HelloHello"),
        (
            0x81 | RSV1,
            [&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]].concat(),
            "HelloHello",
        ),
        // still as before
        (0x81 | RSV1, packed("hello"), "hello"),
    ] {
        client.send(first, payload).await;
        client.expect_text(reply).await;
    }
    client.send(0x82 | RSV1, packed(b"\xff")).await;
    assert_eq!(client.expect(BINARY).await, b"\xff");
}

#[tokio::test]
async fn control_frames_pass_between_the_fragments_of_a_compressed_message() {
    let server = TestServer::of::<Echo>().await;
    let mut client = connect(&server, "/echo", "").await;
    let message = packed("grüß dich");
    client.send(TEXT | RSV1, &message[..3]).await;
    client.expect_silence().await;
    client.send(CONTINUATION, b"").await;
    client.send(CONTINUATION, &message[3..]).await;
    client.send(0x80 | PING, b"between").await;
    assert_eq!(client.expect(PONG).await, b"between");
    client.send(0x80 | CONTINUATION, b"").await;
    client.expect_text("grüß dich").await;
    // byte by byte
    for frame in support::frame(0x80 | TEXT | RSV1, &message).chunks(1) {
        client.send_raw(frame).await;
    }
    client.expect_text("grüß dich").await;
}

#[tokio::test]
async fn a_reserved_bit_in_the_wrong_place_is_1002() {
    let server = TestServer::of::<Echo>().await;
    for (negotiated, frames) in [
        (false, &[0x81 | RSV1][..]),
        (false, &[0x82 | RSV1]),
        (true, &[0x80 | PING | RSV1]),
        (true, &[0x80 | PONG | RSV1]),
        (true, &[0x80 | CLOSE | RSV1]),
        (true, &[TEXT | RSV1, 0x80 | CONTINUATION | RSV1]),
        (true, &[TEXT, 0x80 | CONTINUATION | RSV1]),
        (true, &[0x81 | 0x20]),
        (true, &[0x81 | 0x10]),
        (true, &[0x81 | 0x60]),
    ] {
        let mut client = if negotiated { connect(&server, "/echo", "").await } else { server.connect("/echo").await };
        for first in frames {
            client.send(*first, b"").await;
        }
        client.expect_close(1002).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn what_cannot_be_decompressed_is_1007() {
    let server = TestServer::of::<Echo>().await;
    let mut codec = Codec::new();
    let first = codec.pack(long());
    for (what, payload) in [
        ("no deflate", b"this is not compressed".to_vec()),
        ("a reserved block type", vec![0x07]),
        ("a wrong length of a stored block", vec![0x00, 0x05, 0x00, 0x00, 0x00, 0x41]),
        ("a distance before the beginning", vec![0xf2, 0x00, 0x11, 0x00, 0x00]),
        ("a context that must not be kept", codec.pack(&long()[..200])),
        ("a message cut short", first[..first.len() - 8].to_vec()),
        ("text that is not UTF-8", packed(b"abc\xff")),
        ("text that ends in a character", packed(b"abc\xe8\xa8")),
    ] {
        let mut client = connect(&server, "/echo", "").await;
        client.send(0x81 | RSV1, payload).await;
        let reason = client.expect_close(1007).await;
        assert!(!reason.is_empty(), "{what}");
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_bad_byte_of_compressed_text_fails_before_its_message_is_complete() {
    let server = TestServer::of::<Echo>().await;
    let mut client = connect(&server, "/echo", "").await;
    client.send(TEXT | RSV1, packed(b"abc\xff")).await;
    client.expect_close(1007).await;
}

#[tokio::test]
async fn the_limit_is_for_the_message_and_not_for_its_compressed_form() {
    let server = TestServer::of::<Echo>().await;
    for (size, fits) in [(1000, true), (1001, false), (1 << 20, false)] {
        let mut client = connect(&server, "/echo", "").await;
        client.send(0x81 | RSV1, packed("x".repeat(size))).await;
        if fits {
            assert_eq!(message(&mut client, TEXT).await, "x".repeat(size).as_bytes());
        } else {
            client.expect_close(1009).await;
        }
    }
    // one that is larger compressed than not; and a limit over all fragments
    let mut client = connect(&server, "/echo", "").await;
    let stored = [&[0x00, 0x00, 0x00, 0xff, 0xff].repeat(400)[..], &packed("small")].concat();
    client.send(0x81 | RSV1, stored).await;
    client.expect_text("small").await;
    let large = packed(noise(1001));
    client.send(BINARY | RSV1, &large[..500]).await;
    client.expect_silence().await;
    client.send(CONTINUATION, &large[500..]).await;
    client.expect_close(1009).await;
}

#[tokio::test]
async fn parts_are_the_inflated_pieces() {
    let journal = Journal::default();
    let noted = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Parts(noted.clone())))).await;
    let mut client = connect(&server, "/parts", "").await;
    let mut codec = Codec::new();
    // a flush on each fragment, so that each can be read when it has come
    let mut fragment = |text: &str| [&codec.pack(text)[..], &[0x00, 0x00, 0xff, 0xff]].concat();
    client.send(TEXT | RSV1, fragment("one")).await;
    journal.expect("one").await;
    client.send(CONTINUATION, fragment("two")).await;
    journal.expect("two").await;
    client.send(CONTINUATION, b"").await;
    client.send(0x80 | CONTINUATION, [&fragment("three")[..], &[0x00]].concat()).await;
    journal.expect("three.").await;
    // a character in two parts of a message is one character
    let sign = "言".as_bytes();
    let stored = |bytes: &[u8]| {
        let len = bytes.len() as u16;
        [&[0x00][..], &len.to_le_bytes(), &(!len).to_le_bytes(), bytes].concat()
    };
    client.send(TEXT | RSV1, stored(&[b"a", &sign[..2]].concat())).await;
    journal.expect("a").await;
    client.send(0x80 | CONTINUATION, [&stored(&sign[2..])[..], &[0x00]].concat()).await;
    journal.expect("言.").await;
    client.send(0x81 | RSV1, [0x00]).await;
    journal.expect(".").await;
    // what grows comes in parts of about 64 KiB
    client.send(0x82 | RSV1, packed(vec![0; 1 << 20])).await;
    let (mut total, mut parts) = (0, 0);
    loop {
        let part = journal.next().await;
        let size: usize = part.trim_end_matches('.').parse().unwrap();
        assert!(size <= 128 << 10, "{part}");
        (total, parts) = (total + size, parts + 1);
        if part.ends_with('.') {
            break;
        }
    }
    assert_eq!(total, 1 << 20);
    assert!(parts >= 8, "{parts}");
}

// ---- what goes out ----

#[tokio::test]
async fn messages_below_the_threshold_or_without_gain_are_not_compressed() {
    let server = TestServer::of::<Echo>().await;
    let mut client = connect(&server, "/echo", "").await;
    client.text(&"x".repeat(15)).await;
    client.expect_text(&"x".repeat(15)).await;
    client.text(&"x".repeat(16)).await;
    assert_eq!(message(&mut client, TEXT).await, "x".repeat(16).as_bytes());
    // by itself a message that does not become smaller is sent as it is
    client.binary(&noise(900)).await;
    assert_eq!(client.expect(BINARY).await, noise(900));
    // and those after it do not mind
    client.binary(&[7; 900]).await;
    assert_eq!(message(&mut client, BINARY).await, [7; 900]);
}

#[tokio::test]
async fn every_send_method_compresses_by_default() {
    let journal = Journal::default();
    let noted = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Say(noted.clone())))).await;
    for offer in ["", "; server_max_window_bits=9"] {
        let mut client = connect(&server, "/say", offer).await;
        journal.expect("open 1").await;
        for way in ["return", "basic", "async", "all", "basic binary", "async binary"] {
            client.text(way).await;
            let opcode = if way.ends_with("binary") { BINARY } else { TEXT };
            assert_eq!(message(&mut client, opcode).await, long().as_bytes(), "{way}");
        }
        for way in ["basic plain", "async plain", "all plain"] {
            client.text(way).await;
            client.expect_text(&long()).await;
        }
        client.close(1000, "").await;
        client.expect_close(1000).await;
        journal.expect("close").await;
    }
    // and nothing is compressed for a client that did not ask
    let mut client = server.connect("/say").await;
    for way in ["return", "basic", "async", "all", "basic plain"] {
        client.text(way).await;
        client.expect_text(&long()).await;
    }
}

#[tokio::test]
async fn a_broadcast_reaches_each_session_in_its_own_form() {
    let journal = Journal::default();
    let noted = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Say(noted.clone())))).await;
    let mut plain = server.connect("/say").await;
    let mut wide = connect(&server, "/say", "").await;
    let mut alike = connect(&server, "/say", "").await;
    let mut narrow = connect(&server, "/say", "; server_max_window_bits=9").await;
    for number in 1..=4 {
        journal.expect(&format!("open {number}")).await;
    }
    plain.text("all").await;
    plain.expect_text(&long()).await;
    let frame = wide.frame().await.unwrap();
    assert_eq!((frame.rsv, Codec::new().unpack(&frame.payload)), (4, long().into_bytes()));
    assert_eq!(alike.frame().await.unwrap(), frame, "compressed once for both");
    assert_eq!(message(&mut narrow, TEXT).await, long().as_bytes());
    // the narrow window does not reach far enough to make it smaller
    plain.text("all large").await;
    assert_eq!(plain.expect(BINARY).await, pattern(100_000));
    assert_eq!(message(&mut wide, BINARY).await, pattern(100_000));
    assert_eq!(message(&mut alike, BINARY).await, pattern(100_000));
    assert_eq!(narrow.expect(BINARY).await, pattern(100_000));
    plain.text("all noise").await;
    for client in [&mut plain, &mut wide, &mut alike, &mut narrow] {
        assert_eq!(client.expect(BINARY).await, noise(20_000));
    }
    plain.text("all plain").await;
    for client in [&mut plain, &mut wide, &mut alike, &mut narrow] {
        client.expect_text(&long()).await;
    }
}

#[tokio::test]
async fn large_replies_to_one_segment_come_in_one_batch() {
    let journal = Journal::default();
    let own = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Say(own.clone())))).await;
    let mut client = connect(&server, "/say", "").await;
    client.send_raw(&frame(0x80 | TEXT, b"return letters").repeat(3)).await;
    for _ in 0..3 {
        let (text, size) = Codec::new().message(&mut client, TEXT).await;
        assert_eq!(text, letters(20_000).into_bytes());
        assert!((8 << 10..20_000).contains(&size), "{size}");
    }
}

#[tokio::test]
async fn small_window_applies() {
    let server = TestServer::of::<Keep>().await;
    let mut client = connect(&server, "/keep", "; server_max_window_bits=9; client_max_window_bits=9").await;
    let mut codec = Codec::with_window(9);
    for data in [pattern(5000), long().into_bytes(), pattern(5000), vec![1; 5000]] {
        client.send(0x82 | RSV1, codec.pack(&data)).await;
        assert_eq!(codec.message(&mut client, BINARY).await.0, data);
    }
    // RFC 7692 lets a client say 8, which is less than what is read here
    let mut client = connect(&server, "/keep", "; client_max_window_bits=8").await;
    let mut codec = Codec::new();
    client.send(0x81 | RSV1, packed("abc")).await;
    assert_eq!(codec.message(&mut client, TEXT).await.0, b"abc");
}

#[tokio::test]
async fn small_window_applies_whatever_the_client_offers() {
    let server = TestServer::of::<Narrow>().await;
    for offer in ["", "; server_max_window_bits=9", "; server_max_window_bits=15"] {
        let mut client = connect(&server, "/narrow", offer).await;
        // what it repeats is too far back, so it does not become smaller
        client.binary(&pattern(5000)).await;
        assert_eq!(client.expect(BINARY).await, pattern(5000));
        client.binary(&[7; 5000]).await;
        assert_eq!(message(&mut client, BINARY).await, [7; 5000]);
    }
}

// ---- contexts ----

#[tokio::test]
async fn a_context_is_taken_over_from_message_to_message_in_both_directions() {
    let server = TestServer::of::<Keep>().await;
    let mut client = connect(&server, "/keep", "").await;
    let mut codec = Codec::new();
    let mut sizes = Vec::new();
    for round in 0..3 {
        let data = noise(2000);
        let wire = codec.pack(&data);
        assert!(round == 0 || wire.len() < 100, "{}", wire.len());
        client.send(0x82 | RSV1, wire).await;
        let (reply, size) = codec.message(&mut client, BINARY).await;
        assert_eq!(reply, data);
        sizes.push(size);
        // what is small, empty, or sent as it is between them changes nothing
        client.send(0x81 | RSV1, [0x00]).await;
        assert_eq!(client.frame().await.unwrap().payload, [0x00]);
        client.text("plain").await;
        assert_eq!(codec.message(&mut client, TEXT).await.0, b"plain");
    }
    // what does not become smaller is sent compressed all the same: the next may refer to it
    assert!(sizes[0] >= 2000 && sizes[1] < 100 && sizes[2] < 100, "{sizes:?}");
}

/// What a peer sends that ends a stream with each message and keeps its window (RFC 7692 §7.2.3.4).
fn ended(message: &[u8], before: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(flate2::Compression::default(), false);
    if !before.is_empty() {
        stream.set_dictionary(before).unwrap();
    }
    let mut out = Vec::with_capacity(2 * message.len() + 100);
    stream.compress_vec(message, &mut out, FlushCompress::Finish).unwrap();
    // the byte of an empty block behind the last one
    out.push(0);
    out
}

/// Sends messages that end a stream each and refer back past its end; what it hears must be the same messages.
async fn ends_each(peer: &mut Client) {
    let mut codec = Codec::new();
    let (data, mut before) = (noise(2000), Vec::new());
    for round in 0..4 {
        let wire = ended(&data, &before);
        assert!(round == 0 || wire.len() < 100, "it uses the context: {}", wire.len());
        // by a message without a last block as well
        let wire = if round == 3 { packed(&data[..100]) } else { wire };
        let expected = if round == 3 { &data[..100] } else { &data };
        peer.send(0x82 | RSV1, wire).await;
        assert_eq!(codec.message(peer, BINARY).await.0, expected);
        before.extend_from_slice(expected);
    }
}

#[tokio::test]
async fn a_block_that_is_marked_as_the_last_keeps_the_window() {
    let server = TestServer::of::<Keep>().await;
    ends_each(&mut connect(&server, "/keep", "").await).await;
}

#[client_endpoint]
#[derive(Default)]
struct Parrot;

impl Parrot {
    #[on_message]
    fn binary(&self, data: &[u8]) -> Binary {
        data.into()
    }
}

#[tokio::test]
async fn a_server_that_marks_blocks_as_the_last_is_read_by_a_client() {
    let server = RawServer::bind().await;
    let compression = Compression::ON.context_takeover(true).threshold(0);
    let container = ClientContainer::builder().compression(compression).build();
    let open = async {
        let (asked, mut peer) = server.asked().await;
        peer.send_raw(asked.accepted(&["Sec-WebSocket-Extensions: permessage-deflate"]).as_bytes()).await;
        peer
    };
    let uri = server.uri("/");
    let (mut peer, session) = soon(async { tokio::join!(open, container.connect(Parrot, uri.as_str())) }).await;
    let _session = session.unwrap();
    ends_each(&mut peer).await;
}

#[tokio::test]
async fn message_that_inflates_to_nothing_is_limited() {
    let server = TestServer::of::<Echo>().await;
    let nothing = [0x03, 0x00];
    // twice the limit and one kilobyte
    let fits = nothing.repeat((2 * 1000 + 1024) / nothing.len());
    let mut client = connect(&server, "/echo", "").await;
    client.send(0x81 | RSV1, &fits).await;
    client.expect_text("").await;
    client.send(0x81 | RSV1, [&fits[..], b"\x00"].concat()).await;
    client.expect_close(1009).await;
    // and over all fragments, before the one too many has come
    let mut client = connect(&server, "/echo", "").await;
    client.send(TEXT | RSV1, &fits).await;
    client.send_raw(&[0x80, 0x80 | 1, 0, 0, 0, 0]).await;
    client.expect_close(1009).await;
}

#[tokio::test]
async fn client_may_disable_either_context_takeover() {
    let server = TestServer::of::<Keep>().await;
    // a server that forgets: each reply stands for itself
    let mut client = connect(&server, "/keep", "; server_no_context_takeover").await;
    let mut codec = Codec::new();
    for _ in 0..2 {
        client.send(0x81 | RSV1, codec.pack(long())).await;
        assert_eq!(message(&mut client, TEXT).await, long().as_bytes());
    }
    // a client that forgets is held to it
    let mut client = connect(&server, "/keep", "; client_no_context_takeover").await;
    let mut codec = Codec::new();
    let mut replies = Codec::new();
    client.send(0x81 | RSV1, codec.pack(long())).await;
    assert_eq!(replies.message(&mut client, TEXT).await.0, long().as_bytes());
    client.send(0x81 | RSV1, packed(long())).await;
    assert_eq!(replies.message(&mut client, TEXT).await.0, long().as_bytes());
    client.send(0x81 | RSV1, codec.pack(long())).await;
    client.expect_close(1007).await;
}

#[tokio::test]
async fn a_message_that_is_refused_does_not_disturb_the_context() {
    let journal = Journal::default();
    let noted = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Crowd(noted.clone()))).send_queue(2, 1 << 20);
    let server = TestServer::with(container).await;
    let mut client = connect(&server, "/crowd", "").await;
    let mut codec = Codec::new();
    for _ in 0..3 {
        client.text("go").await;
        for number in 0..2 {
            let (text, _) = codec.message(&mut client, TEXT).await;
            assert_eq!(text, format!("{number} {}", long()).as_bytes());
        }
        assert_eq!(codec.message(&mut client, TEXT).await.0, long().as_bytes());
        for (number, sent) in [(0, true), (1, true), (2, false), (3, false), (4, false)] {
            journal.expect(&format!("{number} {sent}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_compression_is_the_order_on_the_wire() {
    const SENDERS: usize = 4;
    const REPLIES: usize = 1000;
    // a sender is at most this far ahead of the client, or each reply would wait behind all that the kernel's buffers hold
    const AHEAD: usize = 100;
    let server = TestServer::of::<Keep>().await;
    let mut client = connect(&server, "/keep", "").await;
    let mut codec = Codec::new();
    client.text("open?").await;
    codec.message(&mut client, TEXT).await;
    let sessions = server.container.sessions();
    let session = sessions.iter().next().unwrap().clone();
    // they send in every way, as long as the handler replies
    let enough = Arc::new(AtomicBool::new(false));
    let ahead: Vec<_> = (0..SENDERS).map(|_| Arc::new(Semaphore::new(AHEAD))).collect();
    let send = |sender: usize| {
        let (session, sessions, enough) = (session.clone(), sessions.clone(), enough.clone());
        let ahead = ahead[sender].clone();
        async move {
            let mut number = 0;
            while !enough.load(Ordering::Relaxed) {
                ahead.acquire().await.unwrap().forget();
                let text = format!("{sender} {number} {}", long());
                match number % 3 {
                    0 => session.basic_remote().send_text(text).await.unwrap(),
                    1 => session.async_remote().send_text(text).await.unwrap(),
                    _ => {
                        let report: Report = sessions.async_remote().send_text(text);
                        assert_eq!(report.sent, 1);
                    }
                }
                number += 1;
            }
            number
        }
    };
    let tasks: Vec<_> = (0..SENDERS).map(|sender| tokio::spawn(send(sender))).collect();
    let mut next = [0; SENDERS + 1];
    let mut ends = [usize::MAX; SENDERS + 1];
    ends[SENDERS] = REPLIES;
    let mut tasks = Some(tasks);
    let mut asked = 0;
    while next != ends {
        // the handler is kept busy, and not more
        while asked < REPLIES && asked < next[SENDERS] + 20 {
            client.text(&format!("{SENDERS} {asked} {}", long())).await;
            asked += 1;
        }
        let text = String::from_utf8(codec.message(&mut client, TEXT).await.0).unwrap();
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().unwrap();
        let (sender, number): (usize, usize) = (word().parse().unwrap(), word().parse().unwrap());
        assert_eq!((number, word()), (next[sender], long().as_str()));
        next[sender] += 1;
        if let Some(ahead) = ahead.get(sender) {
            ahead.add_permits(1);
        }
        if next[SENDERS] == REPLIES {
            enough.store(true, Ordering::Relaxed);
            ahead.iter().for_each(|ahead| ahead.add_permits(AHEAD));
            for (end, task) in ends.iter_mut().zip(tasks.take().into_iter().flatten()) {
                *end = soon(task).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn inflated_size_counts_towards_the_peers_quantum() {
    const MESSAGES: usize = 50;
    let (turns, journal) = (Arc::new(AtomicUsize::new(0)), Journal::default());
    let (its_turns, its_journal) = (turns.clone(), journal.clone());
    let container = ServerContainer::builder()
        .endpoint_with(move |_| Ok(Heavy { turns: its_turns.clone(), journal: its_journal.clone() }));
    let server = TestServer::with(container).await;
    let mut client = connect(&server, "/heavy", "").await;
    let others = tokio::spawn(async move {
        loop {
            turns.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    // as long as somebody says little now and then, a message of a megabyte is more than enough at a time
    client.send(0x82, "little").await;
    journal.next().await;
    // all of it lies in the server's socket before it is read
    let message = frame(0x82 | RSV1, &packed(vec![0; 1 << 20]));
    assert!(message.len() * MESSAGES < 64 << 10);
    client.send_raw(&message.repeat(MESSAGES)).await;
    let mut noted = Vec::new();
    for _ in 0..MESSAGES {
        noted.push(journal.next().await);
    }
    noted.dedup();
    assert!(noted.len() > MESSAGES / 2, "the others had their turn {} times in {MESSAGES} messages", noted.len());
    others.abort();
}

#[tokio::test]
async fn discarded_messages_keep_the_context_intact() {
    let server = TestServer::with(
        ServerContainer::builder().register::<Silent>().compression(Compression::ON.context_takeover(true)),
    )
    .await;
    let mut client = connect(&server, "/silent", "").await;
    let (mut codec, data) = (Codec::new(), noise(2000));
    // no handler for binary: the text after it refers to it all the same
    client.send(0x82 | RSV1, codec.pack(&data)).await;
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    client.send(0x81 | RSV1, codec.pack(&hex)).await;
    assert_eq!(codec.message(&mut client, TEXT).await.0, hex.as_bytes());
    client.send(0x82 | RSV1, codec.pack(&data)).await;
    client.send(0x81 | RSV1, codec.pack(&hex)).await;
    assert_eq!(codec.message(&mut client, TEXT).await.0, hex.as_bytes());
}

#[tokio::test]
async fn closed_session_refuses_compressed_sends() {
    let journal = Journal::default();
    let noted = journal.clone();
    let container =
        ServerContainer::builder().endpoint_with(move |_| Ok(Say(noted.clone()))).close_timeout(Duration::from_secs(1));
    let server = TestServer::with(container).await;
    let mut client = connect(&server, "/say", "").await;
    journal.expect("open 1").await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    assert_eq!(session.extensions().len(), 1);
    client.close(1000, "").await;
    client.expect_close(1000).await;
    journal.expect("close").await;
    assert!(session.basic_remote().send_text(long()).await.unwrap_err().is_closed());
    assert!(session.async_remote().send_text(long()).queued().unwrap_err().is_closed());
    assert_eq!(session.extensions().len(), 1, "what was agreed stays readable");
}
