//! What fails, where: what `on_error` hears, whether the session stays open, and with which code it ends if not.

mod support;

use std::sync::Arc;

use endpoint_runtime::Initiator;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, ServerContainer};
use support::{BINARY, CONTINUATION, Client, Journal, Log, PONG, TEXT, TestServer, frame};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

#[derive(Debug, PartialEq)]
struct OutOfTea(u32);

impl std::fmt::Display for OutOfTea {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cups short", self.0)
    }
}

impl std::error::Error for OutOfTea {}

fn obey(command: &str) -> Result<Option<String>, OutOfTea> {
    match command {
        "fail" => Err(OutOfTea(3)),
        "panic" => panic!("the pot is broken"),
        "panic with a number" => std::panic::panic_any(7),
        echo => Ok(Some(echo.to_owned())),
    }
}

fn kind(error: &Error) -> &'static str {
    match () {
        () if error.is_user() => "user",
        () if error.is_panic() => "panic",
        () if error.is_decode() => "decode",
        () if error.is_too_big() => "too big",
        () if error.is_protocol() => "protocol",
        () if error.is_closed() => "closed",
        () if error.is_timeout() => "timeout",
        () => "other",
    }
}

/// Async handlers, and an `on_error` that speaks to the peer.
#[server_endpoint("/caring")]
struct Caring {
    journal: Journal,
    gate: Arc<Notify>,
}

impl Caring {
    #[on_open]
    async fn open(&mut self, session: &Session) -> Result<(), OutOfTea> {
        obey(session.query_string().unwrap_or_default()).map(drop)
    }

    #[on_message]
    async fn text(&mut self, message: String, session: &Session) -> Result<Option<String>, Error> {
        match message.as_str() {
            "hold, then send" => {
                self.journal.note("held");
                self.gate.notified().await;
                session.basic_remote().send_text("x").await?;
                Ok(None)
            }
            "hold, then return" => {
                self.journal.note("held");
                self.gate.notified().await;
                Ok(Some("x".into()))
            }
            "close, then send" => {
                session.close();
                session.basic_remote().send_text("x").await?;
                Ok(None)
            }
            command => obey(command).map_err(Error::user),
        }
    }

    #[on_message]
    async fn binary(&mut self, data: Vec<u8>) -> Result<Option<String>, OutOfTea> {
        obey(std::str::from_utf8(&data).unwrap())
    }

    #[on_message]
    async fn pong(&mut self, pong: Pong) -> Result<Option<String>, OutOfTea> {
        obey(std::str::from_utf8(pong.data()).unwrap())
    }

    #[on_close]
    async fn close(&mut self, reason: CloseReason) -> Result<(), OutOfTea> {
        self.journal.note(format!("close {}", reason.code()));
        obey(reason.reason()).map(drop)
    }

    #[on_error]
    async fn error(&mut self, error: &Error, session: &Session) {
        self.journal.note(format!("error {}: {error}, {:?}", kind(error), error.downcast_ref::<OutOfTea>()));
        if session.is_open() {
            session.basic_remote().send_text("sorry").await.unwrap();
        }
    }
}

/// The same with ordinary functions.
#[server_endpoint("/caring-now")]
struct CaringNow(Journal);

impl CaringNow {
    #[on_open]
    fn open(&mut self, session: &Session) -> Result<(), OutOfTea> {
        obey(session.query_string().unwrap_or_default()).map(drop)
    }

    #[on_message]
    fn text(&mut self, message: &str) -> Result<Option<String>, OutOfTea> {
        obey(message)
    }

    #[on_message]
    fn binary(&mut self, data: &[u8]) -> Result<Option<String>, OutOfTea> {
        obey(std::str::from_utf8(data).unwrap())
    }

    #[on_message]
    fn pong(&mut self, pong: Pong) -> Result<Option<String>, OutOfTea> {
        obey(std::str::from_utf8(pong.data()).unwrap())
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) -> Result<(), OutOfTea> {
        self.0.note(format!("close {}", reason.code()));
        obey(reason.reason()).map(drop)
    }

    #[on_error]
    fn error(&mut self, error: &Error, session: &Session) {
        self.0.note(format!("error {}: {error}, {:?}", kind(error), error.downcast_ref::<OutOfTea>()));
        session.async_remote().send_text("sorry");
    }
}

/// Nobody hears of its errors.
#[server_endpoint("/careless")]
struct Careless(Journal);

impl Careless {
    #[on_message]
    async fn text(&mut self, message: String) -> Result<Option<String>, OutOfTea> {
        obey(&message)
    }

    #[on_message]
    fn binary(&mut self, data: &[u8]) -> Result<Option<String>, OutOfTea> {
        obey(std::str::from_utf8(data).unwrap())
    }

    #[on_message]
    async fn pong(&mut self, pong: Pong) -> Result<Option<String>, OutOfTea> {
        obey(std::str::from_utf8(pong.data()).unwrap())
    }

    #[on_close]
    async fn close(&mut self, reason: CloseReason) -> Result<(), OutOfTea> {
        self.0.note(format!("close {}", reason.code()));
        obey(reason.reason()).map(drop)
    }
}

/// Its `on_error` does as the error says.
#[server_endpoint("/clumsy")]
struct Clumsy(Journal);

impl Clumsy {
    #[on_message]
    fn text(&mut self, message: String) -> Result<String, String> {
        if message == "echo" { Ok(message) } else { Err(message) }
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) -> Result<(), String> {
        self.0.note(format!("close {}", reason.code()));
        // a peer that gives a phrase makes it fail with that
        if reason.initiator() != Initiator::Peer || reason.reason().is_empty() {
            return Ok(());
        }
        Err(reason.reason().to_owned())
    }

    #[on_error]
    async fn error(&mut self, error: &Error) -> Result<(), OutOfTea> {
        self.0.note("error");
        obey(&error.to_string()).map(drop)
    }
}

async fn server() -> (TestServer, Journal, Arc<Notify>) {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let (caring, its_gate) = (journal.clone(), gate.clone());
    let [caring_now, careless, clumsy, numbers] = std::array::from_fn(|_| journal.clone());
    let container = ServerContainer::builder()
        .endpoint_with(move |_| Ok(Caring { journal: caring.clone(), gate: its_gate.clone() }))
        .endpoint_with(move |_| Ok(CaringNow(caring_now.clone())))
        .endpoint_with(move |_| Ok(Careless(careless.clone())))
        .endpoint_with(move |_| Ok(Clumsy(clumsy.clone())))
        .endpoint_with(move |_| Ok(Numbers(numbers.clone())))
        .register::<CarelessNumbers>();
    (TestServer::with(container).await, journal, gate)
}

/// The first byte of the frame that calls each message handler.
const KINDS: [u8; 3] = [0x80 | TEXT, 0x80 | BINARY, 0x80 | PONG];

async fn is_alive(server: &TestServer) {
    let mut other = server.connect("/caring").await;
    other.text("alive").await;
    other.expect_text("alive").await;
}

// ---- errors of handlers ----

#[tokio::test]
async fn error_in_on_message_reaches_on_error_and_the_session_continues() {
    for path in ["/caring", "/caring-now"] {
        for kind in KINDS {
            println!("{path} {kind:x}");
            let (server, journal, _) = server().await;
            let mut client = server.connect(path).await;
            client.send_raw(&[frame(kind, b"fail"), frame(kind, b"go on")].concat()).await;
            client.expect_text("sorry").await;
            client.expect_text("go on").await;
            assert_eq!(journal.rest(), ["error user: 3 cups short, Some(OutOfTea(3))"]);
        }
    }
}

#[tokio::test]
async fn error_in_on_message_without_on_error_closes_with_1011_and_is_logged() {
    for kind in KINDS {
        println!("{kind:x}");
        let log = Log::capture();
        let (server, journal, _) = server().await;
        let mut client = server.connect("/careless").await;
        client.send_raw(&[frame(kind, b"fail"), frame(kind, b"too late")].concat()).await;
        let id = server_session_id(&server).await;
        assert_eq!(client.expect_close(1011).await, "internal error");
        journal.expect("close 1011").await;
        let lines = log.lines("WARN");
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["3 cups short", "Careless", "/careless", &id] {
            assert!(lines[0].contains(part), "{part} is not in {lines:?}");
        }
    }
}

/// The identity of the only session.
async fn server_session_id(server: &TestServer) -> String {
    support::soon(async {
        loop {
            if let Some(session) = server.container.sessions().iter().next() {
                return session.id().to_string();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn error_in_on_open_reaches_on_error_which_can_send_before_1011() {
    for path in ["/caring?fail", "/caring-now?fail"] {
        let (server, journal, _) = server().await;
        let mut client = server.connect(path).await;
        client.expect_text("sorry").await;
        assert_eq!(client.expect_close(1011).await, "internal error");
        client.close(1011, "").await;
        client.expect_end().await;
        journal.expect("error user: 3 cups short, Some(OutOfTea(3))").await;
        journal.expect("close 1011").await;
    }
}

#[tokio::test]
async fn error_in_on_close_reaches_on_error() {
    for path in ["/caring", "/caring-now"] {
        let (server, journal, _) = server().await;
        let mut client = server.connect(path).await;
        client.close(4000, "fail").await;
        client.expect_close(4000).await;
        client.expect_end().await;
        journal.expect("close 4000").await;
        journal.expect("error user: 3 cups short, Some(OutOfTea(3))").await;
        is_alive(&server).await;
        drop(client);
        server.shutdown().await;
        // that of `is_alive`
        let rest = journal.rest();
        assert!(rest.iter().all(|line| line == "close 1006"), "{rest:?}");
    }
}

#[tokio::test]
async fn error_or_panic_in_on_close_without_on_error_is_logged() {
    for (how, text) in [("fail", "3 cups short"), ("panic", "the pot is broken")] {
        let log = Log::capture();
        let (server, journal, _) = server().await;
        let mut client = server.connect("/careless").await;
        client.close(4000, how).await;
        client.expect_close(4000).await;
        client.expect_end().await;
        drop(client);
        is_alive(&server).await;
        server.shutdown().await;
        journal.expect("close 4000").await;
        assert_eq!(log.lines("on_close failed").iter().filter(|line| line.contains(text)).count(), 1);
    }
}

// ---- panics ----

#[tokio::test]
async fn panic_in_on_message_reaches_on_error_and_closes_with_1011() {
    for path in ["/caring", "/caring-now"] {
        for kind in KINDS {
            println!("{path} {kind:x}");
            let (server, journal, _) = server().await;
            let mut client = server.connect(path).await;
            client.send_raw(&[frame(kind, b"panic"), frame(kind, b"too late")].concat()).await;
            client.expect_text("sorry").await;
            assert_eq!(client.expect_close(1011).await, "internal error");
            client.close(1011, "").await;
            client.expect_end().await;
            journal.expect("error panic: a handler panicked: the pot is broken, None").await;
            journal.expect("close 1011").await;
            is_alive(&server).await;
        }
    }
}

#[tokio::test]
async fn panic_in_on_open_reaches_on_error_and_closes_with_1011() {
    for path in ["/caring?panic", "/caring-now?panic"] {
        let (server, journal, _) = server().await;
        let mut client = server.connect(path).await;
        client.expect_text("sorry").await;
        client.expect_close(1011).await;
        journal.expect("error panic: a handler panicked: the pot is broken, None").await;
        journal.expect("close 1011").await;
        is_alive(&server).await;
    }
}

#[tokio::test]
async fn panic_in_on_close_reaches_on_error() {
    for path in ["/caring", "/caring-now"] {
        let (server, journal, _) = server().await;
        let mut client = server.connect(path).await;
        client.close(4000, "panic").await;
        client.expect_close(4000).await;
        client.expect_end().await;
        journal.expect("close 4000").await;
        journal.expect("error panic: a handler panicked: the pot is broken, None").await;
        is_alive(&server).await;
    }
}

#[tokio::test]
async fn panic_without_a_message_reaches_on_error() {
    let (server, journal, _) = server().await;
    let mut client = server.connect("/caring").await;
    client.text("panic with a number").await;
    client.expect_text("sorry").await;
    journal.expect("error panic: a handler panicked: (a panic without a message), None").await;
}

// ---- on_error itself ----

#[tokio::test]
async fn error_in_on_error_is_only_logged() {
    // after an error the session goes on; after a panic nobody knows what state the endpoint is in
    for (how, text, code) in [("fail", "3 cups short", 1000), ("panic", "the pot is broken", 1011)] {
        let log = Log::capture();
        let (server, journal, _) = server().await;
        let mut client = server.connect("/clumsy").await;
        client.text(how).await;
        journal.expect("error").await;
        if how == "fail" {
            client.close(1000, "").await;
        }
        client.expect_close(code).await;
        journal.expect(&format!("close {code}")).await;
        is_alive(&server).await;
        assert_eq!(journal.rest(), [""; 0], "on_error received its own error");
        let lines = log.lines("ERROR");
        assert!(lines.len() == 1 && lines[0].contains(text), "{lines:?}");
    }
}

#[tokio::test]
async fn session_survives_an_error_in_on_error() {
    let (server, _journal, _) = server().await;
    let mut client = server.connect("/clumsy").await;
    client.text("fail").await;
    client.text("echo").await;
    client.expect_text("echo").await;
}

#[tokio::test]
async fn error_in_on_error_after_on_close_is_only_logged() {
    for how in ["fail", "panic"] {
        let (server, journal, _) = server().await;
        let mut client = server.connect("/clumsy").await;
        client.close(4000, how).await;
        client.expect_close(4000).await;
        client.expect_end().await;
        journal.expect("close 4000").await;
        journal.expect("error").await;
        drop(client);
        server.shutdown().await;
        assert_eq!(journal.rest(), [""; 0]);
    }
}

// ---- messages that make no sense ----

#[server_endpoint("/numbers")]
struct Numbers(Journal);

impl Numbers {
    #[on_message]
    fn number(&mut self, number: i32) -> i32 {
        number + 1
    }

    #[on_error]
    fn error(&mut self, error: &Error) {
        self.0.note(format!("error {}: {error}", kind(error)));
    }
}

#[server_endpoint("/careless-numbers")]
#[derive(Default)]
struct CarelessNumbers;

impl CarelessNumbers {
    #[on_message]
    async fn number(&mut self, number: i32) -> i32 {
        number + 1
    }
}

#[tokio::test]
async fn undecodable_message_reaches_on_error_and_the_session_continues() {
    let (server, journal, _) = server().await;
    let mut client = server.connect("/numbers").await;
    for wrong in ["x", "", "2147483648", "1.5"] {
        client.text(wrong).await;
        client.text("41").await;
        client.expect_text("42").await;
        let why = wrong.parse::<i32>().unwrap_err();
        journal.expect(&format!("error decode: the text message {wrong:?} is not of type i32: {why}")).await;
    }
}

#[tokio::test]
async fn undecodable_message_without_on_error_closes_with_1007() {
    let (server, _journal, _) = server().await;
    let mut client = server.connect("/careless-numbers").await;
    client.text("41").await;
    client.expect_text("42").await;
    client.text("secret").await;
    let reason = client.expect_close(1007).await;
    assert!(!reason.contains("secret"), "{reason}");
}

#[tokio::test]
async fn violations_reach_on_error_before_the_session_ends() {
    for (bytes, kind, code) in [
        (frame(0x80 | TEXT, b"\xff"), "protocol", 1007),
        (frame(0xf0, b""), "protocol", 1002),
        (frame(0x80 | CONTINUATION, b"x"), "protocol", 1002),
    ] {
        let (server, journal, _) = server().await;
        let mut client = server.connect("/caring").await;
        client.send_raw(&bytes).await;
        client.expect_text("sorry").await;
        client.expect_close(code).await;
        let error = journal.next().await;
        assert!(error.starts_with(&format!("error {kind}: ")), "{error}");
        journal.expect(&format!("close {code}")).await;
    }
}

// ---- messages that are too big ----

#[server_endpoint("/five", max_message_size = 5)]
#[derive(Default)]
struct Five;

impl Five {
    #[on_message]
    fn text(&mut self, message: &str) -> usize {
        message.len()
    }

    #[on_message]
    async fn binary(&mut self, data: Binary) -> usize {
        data.len()
    }
}

/// The handler's own limit goes before the endpoint's, in both directions.
#[server_endpoint("/own", max_message_size = 100)]
struct Own(Journal);

impl Own {
    #[on_message(max_size = 5)]
    async fn text(&mut self, message: String) -> usize {
        message.len()
    }

    #[on_message(max_size = "1KiB")]
    fn binary(&mut self, data: &[u8]) -> usize {
        data.len()
    }

    #[on_error]
    async fn error(&mut self, error: &Error) {
        self.0.note(format!("error {}: {error}", kind(error)));
    }

    #[on_close]
    async fn close(&mut self, reason: CloseReason) {
        self.0.note(format!("close {}", reason.code()));
    }
}

/// The session's limit, set in `on_open`.
#[server_endpoint("/session")]
#[derive(Default)]
struct OfTheSession;

impl OfTheSession {
    #[on_open]
    fn open(&mut self, session: &Session) {
        session.set_max_message_size(5);
    }

    #[on_message]
    fn text(&mut self, message: &str) -> usize {
        message.len()
    }

    #[on_message]
    async fn binary(&mut self, data: Binary) -> usize {
        data.len()
    }
}

#[server_endpoint("/container")]
#[derive(Default)]
struct OfTheContainer;

impl OfTheContainer {
    #[on_message]
    async fn text(&mut self, message: Text) -> usize {
        message.len()
    }

    #[on_message]
    fn binary(&mut self, data: &[u8]) -> usize {
        data.len()
    }
}

fn limited(journal: &Journal) -> ContainerBuilder {
    let own = journal.clone();
    ServerContainer::builder()
        .endpoint_with(move |_| Ok(Own(own.clone())))
        .register::<Five>()
        .register::<OfTheSession>()
        .register::<OfTheContainer>()
}

#[tokio::test]
async fn five_bytes_of_five_pass_and_six_are_1009() {
    let whole = |kind, payload: &[u8]| frame(0x80 | kind, payload);
    let halves = |kind, first: &[u8], second: &[u8]| {
        [frame(kind, first), frame(0x89, b""), frame(0x80 | CONTINUATION, second)].concat()
    };
    let server = TestServer::with(limited(&Journal::default()).max_message_size(5)).await;
    for path in ["/five", "/session", "/container"] {
        for (fits, exceeds) in [
            (whole(TEXT, b"12345"), whole(TEXT, b"123456")),
            (whole(BINARY, b"12345"), whole(BINARY, b"123456")),
            // bytes, not characters
            (whole(TEXT, "é言".as_bytes()), whole(TEXT, "ééé".as_bytes())),
            // all fragments together
            (halves(TEXT, b"123", b"45"), halves(TEXT, b"123", b"456")),
            (halves(BINARY, b"", b"12345"), halves(BINARY, b"12345", b"6")),
        ] {
            println!("{path} {exceeds:02x?}");
            let mut client = server.connect(path).await;
            client.send_raw(&fits).await;
            if fits.len() > 12 {
                client.expect(PONG).await;
            }
            client.expect_text("5").await;
            client.send_raw(&exceeds).await;
            if exceeds.len() > 12 {
                client.expect(PONG).await;
            }
            client.expect_close(1009).await;
            client.expect_end().await;
        }
    }
}

#[tokio::test]
async fn message_with_a_too_large_length_is_refused_before_it_arrives() {
    let server = TestServer::with(limited(&Journal::default())).await;
    for path in ["/five", "/own", "/session", "/container"] {
        let mut client = server.connect(path).await;
        // a header of 2^62 bytes and not one of them
        let header = [&[0x82, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
        client.send_raw(&header).await;
        client.expect_close(1009).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn too_big_message_reaches_on_error_and_closes_with_1009() {
    let journal = Journal::default();
    let server = TestServer::with(limited(&journal)).await;
    let mut client = server.connect("/own").await;
    client.text("12345").await;
    client.expect_text("5").await;
    client.binary(&[0; 1024]).await;
    client.expect_text("1024").await;
    client.text("123456").await;
    client.expect_close(1009).await;
    client.close(1009, "").await;
    client.expect_end().await;
    journal.expect("error too big: a message of at least 6 bytes exceeds the limit of 5").await;
    journal.expect("close 1009").await;

    let mut client = server.connect("/own").await;
    client.binary(&[0; 1025]).await;
    client.expect_close(1009).await;
    journal.expect("error too big: a message of at least 1025 bytes exceeds the limit of 1024").await;
}

// ---- what is no error ----

#[tokio::test]
async fn a_peer_that_goes_away_is_not_an_error() {
    for command in ["", "hold, then send", "hold, then return"] {
        for how in ["close frame", "end", "reset"] {
            println!("{command:?} {how}");
            let (server, journal, gate) = server().await;
            let mut client = server.connect("/caring").await;
            client.text(command).await;
            if command.is_empty() {
                client.expect_text("").await;
            } else {
                journal.expect("held").await;
            }
            match how {
                "close frame" => {
                    client.close(1000, "").await;
                    client.expect_close(1000).await;
                }
                "end" => client.stream.shutdown().await.unwrap(),
                _ => client.stream.set_zero_linger().unwrap(),
            }
            drop(client);
            support::soon(async {
                while !server.container.sessions().is_empty() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            gate.notify_one();
            journal.expect(if how == "close frame" { "close 1000" } else { "close 1006" }).await;
            server.shutdown().await;
            assert_eq!(journal.rest(), [""; 0], "on_error was called");
        }
    }
}

#[tokio::test]
async fn sending_after_close_is_an_error() {
    let (server, journal, _) = server().await;
    let mut client = server.connect("/caring").await;
    client.text("close, then send").await;
    client.expect_close(1000).await;
    journal.expect("error closed: the session is closed, None").await;
    journal.expect("close 1000").await;
}

#[server_endpoint("/text-only")]
#[derive(Default)]
struct TextOnly;

impl TextOnly {
    #[on_message]
    fn text(&mut self, message: String) -> String {
        message
    }
}

#[server_endpoint("/nothing")]
struct Nothing(Journal);

impl Nothing {
    #[on_error]
    fn error(&mut self, error: &Error) {
        self.0.note(format!("error {error}"));
    }
}

#[tokio::test]
async fn message_without_a_handler_of_its_kind_is_dropped_and_logged_once() {
    let log = Log::capture();
    let server = TestServer::of::<TextOnly>().await;
    let mut client: Client = server.connect("/text-only").await;
    for _ in 0..3 {
        client.binary(b"unwanted").await;
        client.send_raw(&[frame(BINARY, b"in"), frame(0x80 | CONTINUATION, b"parts")].concat()).await;
        client.send(0x80 | PONG, "unasked").await;
        client.text("wanted").await;
        client.expect_text("wanted").await;
    }
    assert_eq!(log.lines("WARN").len(), 1);
}

#[tokio::test]
async fn an_endpoint_without_message_handlers_drops_everything() {
    let journal = Journal::default();
    let own = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Nothing(own.clone())))).await;
    let mut client = server.connect("/nothing").await;
    // larger than any limit, which is for messages somebody wants
    client.binary(&vec![0; 3 << 20]).await;
    client.text("x").await;
    client.send(0x80 | PONG, "x").await;
    client.expect_silence().await;
    assert_eq!(journal.rest(), [""; 0]);
    // but it has to be text
    client.send(0x80 | TEXT, b"\xff").await;
    client.expect_close(1007).await;
}
