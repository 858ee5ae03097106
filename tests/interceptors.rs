//! Interceptors: what they see, in which order they run, what they decide, and their mistakes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::test::TestServer as InMemory;
use endpoint_runtime::{Call, Interceptor, Next, NextClose, NextOpen, OutboundInterceptor, Outcome, Outgoing, Verdict};
use support::{BINARY, CONTINUATION, Client, Journal, Log, PONG, TEXT, TestServer, frame};
use tokio::sync::Notify;

fn note(session: &Session, what: impl Into<String>) {
    session.state::<Journal>().expect("every container of these tests has one").note(what);
}

/// Notes what it sees, with its name.
struct Noting(&'static str);

impl Interceptor for Noting {
    async fn open(&self, session: &Session, next: NextOpen<'_>) -> Outcome {
        note(session, format!("{} opens", self.0));
        let outcome = next.run().await;
        note(session, format!("{} opened", self.0));
        outcome
    }

    async fn message(&self, call: Call<'_>, next: Next<'_>) -> Outcome {
        let session = call.session().clone();
        note(&session, format!("{} {}", self.0, call.text().unwrap_or("?")));
        tokio::task::yield_now().await;
        let outcome = next.run(call).await;
        note(&session, format!("{} {:?}", self.0, outcome.result().map(|reply| reply.is_some()).ok()));
        outcome
    }

    async fn close(&self, session: &Session, reason: &CloseReason, next: NextClose<'_>) -> Result<(), Error> {
        note(session, format!("{} closes {}", self.0, reason.code()));
        let result = next.run().await;
        note(session, format!("{} closed", self.0));
        result
    }
}

/// Decides by the text of a message.
#[derive(Default)]
struct Deciding;

impl Interceptor for Deciding {
    async fn open(&self, session: &Session, next: NextOpen<'_>) -> Outcome {
        match session.query_string() {
            Some("refuse") => Outcome::refuse("not today"),
            Some("forget") => Outcome::done(),
            Some("close") => Outcome::close(CloseReason::new(CloseCode::Other(4001), "full").unwrap()),
            Some("greet") => next.run().await.into_result().map(|_| Some("welcome".into())).into(),
            Some("panic") => panic!("open panics"),
            _ => next.run().await,
        }
    }

    async fn message(&self, mut call: Call<'_>, next: Next<'_>) -> Outcome {
        match call.text() {
            Some("refuse") => Outcome::refuse("too fast"),
            Some("close") => Outcome::close(CloseReason::new(CloseCode::Other(4002), "enough").unwrap()),
            Some("reply") => Outcome::reply("from the interceptor"),
            Some("error") => Outcome::error("an error"),
            Some("drop") => Outcome::done(),
            Some("shout") => {
                assert!(!call.replace(vec![1, 2, 3]), "another kind");
                assert!(call.replace("SHOUT!"));
                assert_eq!(call.size(), 6);
                next.run(call).await
            }
            Some("panic") => panic!("message panics"),
            Some("wait") => {
                call.state::<Notify>().unwrap().notified().await;
                next.run(call).await
            }
            Some("twice") => match next.run(call).await.into_result() {
                Ok(reply) => Ok(reply.map(|reply| match reply {
                    Message::Text(text) => format!("{text} {text}").into(),
                    other => other,
                }))
                .into(),
                Err(error) => Err(error).into(),
            },
            _ => next.run(call).await,
        }
    }

    async fn close(&self, session: &Session, _: &CloseReason, next: NextClose<'_>) -> Result<(), Error> {
        match session.query_string() {
            Some("close-forgets") => Ok(()),
            Some("close-fails") => next.run().await.and_then(|()| Err(Error::user("close fails"))),
            Some("close-panics") => panic!("close panics"),
            _ => next.run().await,
        }
    }
}

#[server_endpoint("/echo", intercept(Deciding))]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_open]
    fn open(&self, session: &Session) {
        note(session, "on_open");
    }

    #[on_message]
    fn say<'a>(&self, line: &'a str, session: &Session) -> &'a str {
        note(session, format!("say {line}"));
        line
    }

    #[on_close]
    async fn close(&self, session: &Session) {
        note(session, "on_close");
    }

    #[on_error]
    fn error(&self, error: &Error, session: &Session) {
        note(session, format!("on_error {error} {}", error.is_refused()));
    }
}

/// As `Echo`, asynchronous and without an interceptor of its own or an `on_error`.
#[server_endpoint("/plain")]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_message]
    async fn say(&self, line: String) -> String {
        tokio::task::yield_now().await;
        line
    }
}

async fn serving(configure: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> (TestServer, Journal) {
    let journal = Journal::default();
    let container = configure(ServerContainer::builder().state(journal.clone()).state(Notify::new()));
    (TestServer::with(container).await, journal)
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

async fn all_noted(journal: &Journal, expected: &[&str]) {
    for what in expected {
        journal.expect(what).await;
    }
}

// ---- order ----

#[server_endpoint("/ordered", intercept(Noting("c"), Noting("d")))]
#[derive(Default)]
struct Ordered;

impl Ordered {
    #[on_open]
    fn open(&self, session: &Session) {
        note(session, "on_open");
    }

    #[on_message]
    fn say(&self, session: &Session, _: &str) -> &'static str {
        note(session, "say");
        "reply"
    }

    #[on_close]
    fn close(&self, session: &Session) {
        note(session, "on_close");
    }
}

#[tokio::test]
async fn interceptors_of_the_container_run_around_those_of_the_endpoint_in_the_order_they_were_added() {
    let (server, journal) =
        serving(|builder| builder.register::<Ordered>().intercept(Noting("a")).intercept(Noting("b"))).await;
    let mut client = server.connect("/ordered").await;
    let open = ["a opens", "b opens", "c opens", "d opens", "on_open", "d opened", "c opened", "b opened", "a opened"];
    all_noted(&journal, &open).await;
    asked(&mut client, "hi", "reply").await;
    let message =
        ["a hi", "b hi", "c hi", "d hi", "say", "d Some(true)", "c Some(true)", "b Some(true)", "a Some(true)"];
    all_noted(&journal, &message).await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    let close =
        ["a closes 1000", "b closes 1000", "c closes 1000", "d closes 1000", "on_close", "d closed", "c closed"];
    all_noted(&journal, &close).await;
    all_noted(&journal, &["b closed", "a closed"]).await;
}

// ---- what they see ----

/// Notes the facts of each call.
struct Facts;

impl Interceptor for Facts {
    async fn message(&self, call: Call<'_>, next: Next<'_>) -> Outcome {
        let content = call.text().map(str::to_owned).or_else(|| call.bytes().map(|bytes| format!("{bytes:?}")));
        note(
            call.session(),
            format!(
                "{:?} {} last {} event {:?} handler {:?} handled {} {:?}",
                call.kind(),
                call.size(),
                call.is_last(),
                call.event(),
                call.handler(),
                call.is_handled(),
                content,
            ),
        );
        next.run(call).await
    }
}

#[server_endpoint("/deaf")]
#[derive(Default)]
struct Deaf;

#[server_endpoint("/events", events("search", "leave"))]
#[derive(Default)]
struct Events;

impl Events {
    #[on_message(event = "search")]
    async fn find(&self, Json(what): Json<String>, session: &Session) {
        note(session, format!("find {what}"));
    }

    #[on_message(event = "leave")]
    fn go(&self, session: &Session) {
        note(session, "go");
    }

    #[on_message]
    fn alive(&self, _: Pong, session: &Session) {
        note(session, "alive");
    }

    #[on_message]
    fn picture(&self, data: &[u8], session: &Session) {
        note(session, format!("picture {}", data.len()));
    }

    #[on_error]
    fn error(&self, error: &Error, session: &Session) {
        note(session, format!("on_error {}", error.is_decode()));
    }
}

#[tokio::test]
async fn messages_without_a_handler_are_seen_and_then_dropped() {
    let (server, journal) = serving(|builder| builder.register::<Deaf>().intercept(Facts)).await;
    let mut client = server.connect("/deaf").await;
    client.text("anybody?").await;
    client.binary(&[7; 3]).await;
    client.send(TEXT, "in ").await;
    client.send(0x80 | CONTINUATION, "parts").await;
    journal.expect("Text 8 last true event None handler None handled false Some(\"anybody?\")").await;
    journal.expect("Binary 3 last true event None handler None handled false Some(\"[7, 7, 7]\")").await;
    journal.expect("Text 8 last true event None handler None handled false Some(\"in parts\")").await;
    client.expect_silence().await;
}

#[tokio::test]
async fn call_knows_its_event_and_its_handler() {
    let (server, journal) = serving(|builder| builder.register::<Events>().intercept(Facts)).await;
    let mut client = server.connect("/events").await;
    let ask = |client: Client, text: &'static str| async move {
        let mut client = client;
        client.text(text).await;
        client
    };
    client = ask(client, r#"{"event":"search","data":"x"}"#).await;
    let next = journal.next().await;
    assert!(next.starts_with(r#"Text 29 last true event Some("search") handler Some("find") handled true"#), "{next}");
    journal.expect("find x").await;
    client = ask(client, r#"{"event":"leave"}"#).await;
    let next = journal.next().await;
    assert!(next.contains(r#"event Some("leave") handler Some("go") handled true"#), "{next}");
    journal.expect("go").await;
    client = ask(client, r#"{"event":"other"}"#).await;
    let next = journal.next().await;
    assert!(next.contains(r#"event Some("other") handler None handled false"#), "{next}");
    journal.expect("on_error true").await;
    client = ask(client, "no event").await;
    let next = journal.next().await;
    assert!(next.contains("event None handler None handled false"), "{next}");
    journal.expect("on_error true").await;
    client.send(0x80 | PONG, "yes").await;
    journal.expect("Pong 3 last true event None handler Some(\"alive\") handled true Some(\"[121, 101, 115]\")").await;
    journal.expect("alive").await;
    client.binary(&[1]).await;
    journal.expect("Binary 1 last true event None handler Some(\"picture\") handled true Some(\"[1]\")").await;
    journal.expect("picture 1").await;
}

#[server_endpoint("/parts")]
#[derive(Default)]
struct Parts;

impl Parts {
    #[on_message]
    fn part(&self, part: &str, last: bool, session: &Session) {
        note(session, format!("part {part} {last}"));
    }

    #[on_message]
    async fn read(&self, mut data: BinaryStream, session: &Session) {
        let mut size = 0;
        while let Some(part) = data.next().await.transpose().ok().flatten() {
            size += part.len();
        }
        note(session, format!("read {size}"));
    }
}

#[tokio::test]
async fn parts_are_seen_one_by_one_and_a_stream_once() {
    let (server, journal) = serving(|builder| builder.register::<Parts>().intercept(Facts)).await;
    let mut client = server.connect("/parts").await;
    client.send(TEXT, "one ").await;
    client.send(0x80 | CONTINUATION, "two").await;
    all_noted(
        &journal,
        &[
            "Text 4 last false event None handler Some(\"part\") handled true Some(\"one \")",
            "part one  false",
            "Text 3 last true event None handler Some(\"part\") handled true Some(\"two\")",
            "part two true",
        ],
    )
    .await;
    for _ in 0..2 {
        client.send(BINARY, [1; 10]).await;
        journal.expect("Binary 10 last false event None handler Some(\"read\") handled true None").await;
        client.send(CONTINUATION, [2; 20]).await;
        client.send(0x80 | CONTINUATION, [3; 30]).await;
        journal.expect("read 60").await;
    }
}

/// Sums the bytes of a text.
#[derive(Debug, PartialEq)]
struct Sum(usize);

#[derive(Default)]
struct Summing(usize);

impl endpoint_runtime::TextStreamDecoder for Summing {
    type Object = Sum;

    fn begin(&mut self) {
        self.0 = 0;
    }

    fn push(&mut self, part: &str) -> Result<(), Error> {
        self.0 += part.len();
        if part.contains('!') { Err(Error::user("too loud")) } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<Sum, Error> {
        Ok(Sum(std::mem::take(&mut self.0)))
    }
}

#[server_endpoint("/decoded", decoders(Summing))]
#[derive(Default)]
struct Decoded;

impl Decoded {
    #[on_message(text)]
    fn sum(&self, sum: Sum, session: &Session) {
        note(session, format!("sum {}", sum.0));
    }

    #[on_error]
    fn error(&self, error: &Error, session: &Session) {
        note(session, format!("on_error {error}"));
    }
}

#[tokio::test]
async fn payload_of_a_stream_decoder_is_seen_once_it_is_decoded() {
    let (server, journal) = serving(|builder| builder.register::<Decoded>().intercept(Facts)).await;
    let mut client = server.connect("/decoded").await;
    for _ in 0..2 {
        client.send(TEXT, "one ").await;
        client.send(0x80 | CONTINUATION, "two").await;
        journal.expect("Text 7 last true event None handler Some(\"sum\") handled true None").await;
        journal.expect("sum 7").await;
    }
    client.text("!").await;
    journal.expect("on_error too loud").await;
}

struct Scripted;

impl Endpoint for Scripted {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_, line: String| line))?;
        session.add_message_handler(MessageHandler::binary_async(|_, data: Vec<u8>| async move {
            tokio::task::yield_now().await;
            data
        }))
    }
}

#[tokio::test]
async fn handlers_that_were_added_and_endpoints_without_annotations_are_intercepted_too() {
    let config = EndpointConfig::new("/scripted", || Scripted).intercept(Facts).intercept(Deciding);
    let (server, journal) = serving(|builder| builder.add_endpoint_config(config)).await;
    let mut client = server.connect("/scripted").await;
    asked(&mut client, "a", "a").await;
    journal.expect("Text 1 last true event None handler None handled true Some(\"a\")").await;
    client.binary(&[9]).await;
    assert_eq!(client.expect(BINARY).await, [9]);
    journal.expect("Binary 1 last true event None handler None handled true Some(\"[9]\")").await;
    asked(&mut client, "shout", "SHOUT!").await;
    asked(&mut client, "reply", "from the interceptor").await;
}

#[server_endpoint("/shared", instance = shared)]
#[derive(Default)]
struct Shared(AtomicUsize);

impl Shared {
    #[on_message]
    async fn count(&self, _: String) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[tokio::test]
async fn shared_instances_and_in_memory_sessions_are_intercepted_too() {
    let container = ServerContainer::builder().register::<Shared>().intercept(Deciding).state(Journal::default());
    let server = InMemory::new(container.build().unwrap());
    let (mut one, mut other) = (server.connect("/shared").await, server.connect("/shared").await);
    one.send_text("x").await;
    one.expect_text("1").await;
    other.send_text("drop").await;
    other.send_text("twice").await;
    other.expect_text("2 2").await;
}

/// Counts its instances and its messages.
struct Counting(&'static AtomicUsize, AtomicUsize);

impl Counting {
    fn new(instances: &'static AtomicUsize) -> Self {
        instances.fetch_add(1, Ordering::Relaxed);
        Self(instances, AtomicUsize::new(0))
    }
}

impl Interceptor for Counting {
    async fn message(&self, _: Call<'_>, _: Next<'_>) -> Outcome {
        let messages = self.1.fetch_add(1, Ordering::Relaxed) + 1;
        Outcome::reply(format!("{} {messages}", self.0.load(Ordering::Relaxed)))
    }
}

static COUNTED: AtomicUsize = AtomicUsize::new(0);

#[server_endpoint("/counted", intercept(Counting::new(&COUNTED)))]
#[derive(Default)]
struct Counted;

#[tokio::test]
async fn one_instance_serves_all_sessions_of_an_endpoint() {
    let (server, _) = serving(|builder| builder.register::<Counted>()).await;
    let (mut one, mut other) = (server.connect("/counted").await, server.connect("/counted").await);
    asked(&mut one, "x", "1 1").await;
    asked(&mut other, "x", "1 2").await;
}

#[tokio::test]
async fn messages_before_a_close_frame_get_their_replies() {
    let (server, _) = serving(|builder| builder.register::<Echo>()).await;
    let mut client = server.connect("/echo").await;
    let close = [&1000u16.to_be_bytes()[..], b"bye"].concat();
    let frames = [frame(0x81, b"one"), frame(0x81, b"two"), frame(0x88, &close)];
    client.send_raw(&frames.concat()).await;
    client.expect_text("one").await;
    client.expect_text("two").await;
    assert_eq!(client.expect_close(1000).await, "bye");
}

// ---- what they decide ----

#[tokio::test]
async fn outcome_of_an_interceptor_is_that_of_the_message() {
    let (server, journal) = serving(|builder| builder.register::<Echo>()).await;
    let mut client = server.connect("/echo").await;
    journal.expect("on_open").await;
    asked(&mut client, "hello", "hello").await;
    journal.expect("say hello").await;
    asked(&mut client, "reply", "from the interceptor").await;
    asked(&mut client, "shout", "SHOUT!").await;
    journal.expect("say SHOUT!").await;
    asked(&mut client, "twice", "twice twice").await;
    journal.expect("say twice").await;
    client.text("refuse").await;
    journal.expect("on_error too fast true").await;
    client.text("error").await;
    journal.expect("on_error an error false").await;
    client.text("drop").await;
    client.expect_silence().await;
    client.text("close").await;
    assert_eq!(client.expect_close(4002).await, "enough");
    journal.expect("on_close").await;
}

#[server_endpoint("/binary", intercept(Deciding))]
#[derive(Default)]
struct OnlyBinary;

impl OnlyBinary {
    #[on_message]
    fn take(&self, _: &[u8]) {}
}

#[tokio::test]
async fn message_that_an_interceptor_answers_has_not_been_dropped() {
    let (server, _) = serving(|builder| builder.register::<OnlyBinary>()).await;
    let mut client = server.connect("/binary").await;
    asked(&mut client, "reply", "from the interceptor").await;
    let unhandled = || server.container.stats().endpoints[0].counts.unhandled;
    assert_eq!(unhandled(), 0);
    client.text("anybody?").await;
    asked(&mut client, "reply", "from the interceptor").await;
    assert_eq!(unhandled(), 1);
}

#[tokio::test]
async fn refused_message_without_on_error_is_logged_and_the_session_continues() {
    let log = Log::capture();
    let (server, _) = serving(|builder| builder.register::<Plain>().intercept(Deciding)).await;
    let mut client = server.connect("/plain").await;
    client.text("refuse").await;
    asked(&mut client, "still here", "still here").await;
    assert_eq!(log.lines("too fast").len(), 1);
}

#[tokio::test]
async fn interceptor_may_wait_and_keeps_the_order_of_messages() {
    let (server, _) = serving(|builder| builder.register::<Plain>().intercept(Deciding)).await;
    let mut client = server.connect("/plain").await;
    client.text("wait").await;
    client.text("after").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    session.state::<Notify>().unwrap().notify_one();
    client.expect_text("wait").await;
    client.expect_text("after").await;
}

#[tokio::test]
async fn panic_in_an_interceptor_ends_its_session_and_on_close_runs() {
    let (server, journal) = serving(|builder| builder.register::<Echo>()).await;
    let mut client = server.connect("/echo").await;
    journal.expect("on_open").await;
    client.text("panic").await;
    client.expect_close(1011).await;
    journal.expect("on_error a handler panicked: message panics false").await;
    journal.expect("on_close").await;
    let mut other = server.connect("/echo").await;
    asked(&mut other, "fine", "fine").await;
}

#[tokio::test]
async fn endpoint_never_sees_a_session_that_an_interceptor_does_not_open() {
    let (server, journal) = serving(|builder| builder.register::<Echo>()).await;
    let expected = [
        ("refuse", 1008, "the session was refused", Some("on_error not today true")),
        ("forget", 1008, "the session was refused", Some("on_error an interceptor did not let the session open true")),
        ("close", 4001, "full", None),
        ("panic", 1011, "internal error", Some("on_error a handler panicked: open panics false")),
    ];
    for (query, code, reason, noted) in expected {
        let mut client = server.connect(&format!("/echo?{query}")).await;
        assert_eq!(client.expect_close(code).await, reason, "{query}");
        client.close(code, "").await;
        client.expect_end().await;
        if let Some(noted) = noted {
            journal.expect(noted).await;
        }
    }
    server.shutdown().await;
    assert_eq!(journal.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn interceptor_may_greet() {
    let (server, journal) = serving(|builder| builder.register::<Echo>()).await;
    let mut client = server.connect("/echo?greet").await;
    client.expect_text("welcome").await;
    journal.expect("on_open").await;
}

#[tokio::test]
async fn on_close_runs_once_whatever_interceptors_do() {
    let (server, journal) = serving(|builder| builder.register::<Echo>()).await;
    let expected = [
        ("close-forgets", None),
        ("close-fails", Some("on_error close fails false")),
        ("close-panics", Some("on_error a handler panicked: close panics false")),
    ];
    for (query, noted) in expected {
        let mut client = server.connect(&format!("/echo?{query}")).await;
        journal.expect("on_open").await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        journal.expect("on_close").await;
        if let Some(noted) = noted {
            journal.expect(noted).await;
        }
    }
    server.shutdown().await;
    assert_eq!(journal.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn interceptor_that_waits_for_ever_is_dropped_after_the_close_timeout() {
    let (server, _) =
        serving(|builder| builder.register::<Plain>().intercept(Deciding).close_timeout(Duration::from_millis(100)))
            .await;
    let mut client = server.connect("/plain").await;
    client.text("wait").await;
    client.expect_silence().await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    server.shutdown().await;
}

// ---- what is sent ----

/// Decides about what is sent, by its text.
#[derive(Default)]
struct Outward;

impl Interceptor for Outward {
    fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
        Some(self)
    }
}

impl OutboundInterceptor for Outward {
    fn outgoing(&self, message: &Outgoing<'_>) -> Verdict {
        let text = message.text().unwrap_or_default();
        note(message.session(), format!("{:?} {} {text}", message.kind(), message.size()));
        match text {
            "secret" => Verdict::Replace("[cut]".into()),
            "drop" => Verdict::Drop,
            "no" => Verdict::Refuse,
            "panic" => panic!("outbound panics"),
            _ => Verdict::Send,
        }
    }
}

#[server_endpoint("/outward", intercept(Outward), compression = on(threshold = "1B"))]
#[derive(Default)]
struct Out;

impl Out {
    #[on_message]
    fn say<'a>(&self, line: &'a str) -> &'a str {
        line
    }

    #[on_error]
    fn error(&self, error: &Error, session: &Session) {
        note(session, format!("on_error {error}"));
    }
}

#[tokio::test]
async fn outbound_interceptor_sees_replies_and_decides_about_them() {
    let (server, journal) = serving(|builder| builder.register::<Out>()).await;
    let mut client = server.connect("/outward").await;
    asked(&mut client, "hello", "hello").await;
    journal.expect("Text 5 hello").await;
    asked(&mut client, "secret", "[cut]").await;
    journal.expect("Text 6 secret").await;
    client.text("drop").await;
    journal.expect("Text 4 drop").await;
    client.text("no").await;
    journal.expect("Text 2 no").await;
    journal.expect("on_error the message was not sent: an interceptor refused it").await;
    client.expect_silence().await;
    client.text("panic").await;
    client.expect_close(1011).await;
}

#[tokio::test]
async fn outbound_interceptor_sees_the_sends_of_every_remote() {
    let (server, journal) = serving(|builder| builder.register::<Out>()).await;
    let mut client = server.connect("/outward").await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    let (basic, queued) = (session.basic_remote(), session.async_remote());
    basic.send_text("secret").await.unwrap();
    client.expect_text("[cut]").await;
    basic.send_text("drop").await.unwrap();
    assert!(basic.send_text("no").await.unwrap_err().is_refused());
    queued.send_text("secret").await.unwrap();
    client.expect_text("[cut]").await;
    queued.uncompressed().send_text("secret").await.unwrap();
    client.expect_text("[cut]").await;
    queued.send_text("drop").await.unwrap();
    assert!(queued.send_text("no").await.unwrap_err().is_refused());
    basic.send_binary([1, 2]).await.unwrap();
    assert_eq!(client.expect(BINARY).await, [1, 2]);
    let noted = journal.rest();
    let once = ["Text 6 secret", "Text 4 drop", "Text 2 no", "Text 6 secret", "Text 6 secret", "Text 4 drop"];
    assert_eq!(noted[..6], once);
    assert_eq!(noted[6..], ["Text 2 no", "Binary 2 "]);
}

#[tokio::test]
async fn outbound_interceptor_sees_a_broadcast_once_for_each_session() {
    let (server, journal) = serving(|builder| builder.register::<Out>().register::<Plain>()).await;
    let (mut one, mut two) = (server.connect("/outward").await, server.connect("/outward").await);
    let mut plain = server.connect("/plain").await;
    let everybody = server.container.sessions();
    let report = everybody.async_remote().send_text("secret");
    assert_eq!((report.sent, report.intercepted), (3, 0));
    one.expect_text("[cut]").await;
    two.expect_text("[cut]").await;
    plain.expect_text("secret").await;
    assert_eq!(journal.rest(), ["Text 6 secret"; 2]);
    for text in ["drop", "no"] {
        let report = everybody.async_remote().send_text(text);
        assert_eq!((report.sent, report.intercepted, report.dropped), (1, 2, 0));
        plain.expect_text(text).await;
    }
    one.expect_silence().await;
}

/// Appends its name to what is sent.
struct Signing(&'static str);

impl Interceptor for Signing {
    fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
        Some(self)
    }
}

impl OutboundInterceptor for Signing {
    fn outgoing(&self, message: &Outgoing<'_>) -> Verdict {
        Verdict::Replace(format!("{}{}", message.text().unwrap_or_default(), self.0).into())
    }
}

#[tokio::test]
async fn outermost_interceptor_is_the_last_to_see_what_is_sent() {
    let (server, _) =
        serving(|builder| builder.register::<Plain>().intercept(Signing(" outer")).intercept(Signing(" inner"))).await;
    let mut client = server.connect("/plain").await;
    asked(&mut client, "x", "x inner outer").await;
}

#[tokio::test]
async fn sessions_with_interceptors_end_without_leaving_anything() {
    struct Held(Arc<()>);
    impl Interceptor for Held {
        fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
            Some(self)
        }
    }
    impl OutboundInterceptor for Held {
        fn outgoing(&self, _: &Outgoing<'_>) -> Verdict {
            let _ = &self.0;
            Verdict::Send
        }
    }
    let held = Arc::new(());
    let (server, _) = serving(|builder| builder.register::<Plain>().intercept(Held(held.clone()))).await;
    let mut client = server.connect("/plain").await;
    asked(&mut client, "x", "x").await;
    let weak = server.container.sessions().iter().next().unwrap().downgrade();
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    server.shutdown().await;
    assert!(weak.upgrade().is_none());
    assert_eq!(Arc::strong_count(&held), 1);
}
