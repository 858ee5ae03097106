//! What a configurator sees, what it decides, in which order, and what becomes of its mistakes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, ExtensionOffer, HandshakeResponse};
use http::{HeaderValue, StatusCode};
use support::{Answer, Client, Journal, Log, TestServer, soon};
use tokio::sync::Notify;

/// Says what its session knows.
#[server_endpoint("/hooked/{name}", subprotocols("1", "3", "5", "4", "2"), compression = on)]
#[derive(Default)]
struct Told {
    word: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Note(String);

impl Told {
    #[on_message]
    fn ask(&mut self, question: &str, session: &Session) -> String {
        match question {
            "note?" => format!("{:?}", session.properties().get::<Note>().map(|note| note.0)),
            "forget" => format!("{:?}", session.properties().remove::<Note>().map(|note| note.0)),
            "subprotocol?" => format!("{:?}", session.subprotocol()),
            "extensions?" => format!("{:?}", session.extensions()),
            _ => self.word.clone(),
        }
    }
}

/// What a test wants it to do.
type Modify = Arc<dyn Fn(&HandshakeRequest, &mut HandshakeResponse) -> Result<(), Refusal> + Send + Sync>;

/// A change of what it is told.
type Change = fn(&mut Scripted);

/// Notes each call, and does what it is told.
struct Scripted {
    journal: Journal,
    origin: fn(Result<(), Refusal>) -> Result<(), Refusal>,
    subprotocol: for<'a> fn(&[&'a str], &[&'a str]) -> Option<&'a str>,
    extensions: for<'o> fn(&'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>>,
    modify: Modify,
    endpoint: fn() -> Result<Option<Told>, Refusal>,
}

impl Scripted {
    fn new(journal: &Journal) -> Self {
        Self {
            journal: journal.clone(),
            origin: |policy| policy,
            subprotocol: |supported, offered| offered.iter().copied().find(|offered| supported.contains(offered)),
            extensions: |offered| offered.iter().collect(),
            modify: Arc::new(|_, _| Ok(())),
            endpoint: || Ok(None),
        }
    }
}

impl Configurator<Told> for Scripted {
    fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        self.journal.note(format!("origin {:?} {}", request.header("origin"), policy.is_ok()));
        (self.origin)(policy)
    }

    fn select_subprotocol<'a>(&self, supported: &[&'a str], offered: &[&'a str]) -> Option<&'a str> {
        self.journal.note(format!("subprotocol {supported:?} {offered:?}"));
        (self.subprotocol)(supported, offered)
    }

    fn negotiate_extensions<'o>(&self, offered: &'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> {
        let spelled =
            offered.iter().map(|offer| format!("{} {:?}", offer.name(), offer.parameters().collect::<Vec<_>>()));
        self.journal.note(format!("extensions {:?}", spelled.collect::<Vec<_>>()));
        (self.extensions)(offered)
    }

    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        tokio::task::yield_now().await;
        self.journal.note(format!(
            "modify {:?} {:?} {:?}",
            request.path_params().get("name"),
            response.subprotocol(),
            response.extensions()
        ));
        (self.modify)(request, response)
    }

    fn endpoint(&self, _: &HandshakeRequest) -> Result<Option<Told>, Refusal> {
        self.journal.note("endpoint");
        (self.endpoint)()
    }
}

async fn serve(configurator: Scripted) -> TestServer {
    TestServer::with(ServerContainer::builder().endpoint_with_configurator::<Told>(configurator)).await
}

async fn try_connect(server: &TestServer, headers: &[&str]) -> (Answer, Client) {
    Client::try_connect(server.addr, "/hooked/x", headers).await
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

// ---- the order, and what each hook sees ----

#[tokio::test]
async fn hooks_run_in_order_and_see_what_was_offered() {
    let journal = Journal::default();
    let server = serve(Scripted::new(&journal)).await;
    let headers = [
        "Sec-WebSocket-Protocol: 0, 2",
        "Sec-WebSocket-Protocol: 4",
        "Sec-WebSocket-Extensions: x-first; a=1; b, permessage-deflate; client_max_window_bits",
    ];
    let (answer, mut client) = try_connect(&server, &headers).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-protocol"), Some("2"));
    journal.expect("origin None true").await;
    journal.expect(r#"subprotocol ["1", "3", "5", "4", "2"] ["0", "2", "4"]"#).await;
    journal
        .expect(concat!(
            r#"extensions ["x-first [(\"a\", Some(\"1\")), (\"b\", None)]", "#,
            r#""permessage-deflate [(\"client_max_window_bits\", None)]"]"#
        ))
        .await;
    let extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    journal.expect(&format!(r#"modify Some("x") Some("2") [{extension}]"#)).await;
    journal.expect("endpoint").await;
    asked(&mut client, "subprotocol?", r#"Some("2")"#).await;
}

#[tokio::test]
async fn ordinary_request_reaches_no_hook() {
    let journal = Journal::default();
    let server = serve(Scripted::new(&journal)).await;
    let host = format!("Host: {}", server.addr);
    for lines in [vec!["GET /hooked/x HTTP/1.1", &host], vec!["POST /hooked/x HTTP/1.1", &host, "Content-Length: 0"]] {
        let (answer, _) = server.request(&lines).await;
        assert!([426, 405].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn each_hook_that_refuses_ends_the_handshake_there() {
    fn refusal(status: u16) -> Refusal {
        Refusal::new(StatusCode::from_u16(status).unwrap())
    }
    let cases: [(&str, Change, u16, usize); 3] = [
        ("origin", |it| it.origin = |_| Err(refusal(451)), 451, 1),
        ("modify", |it| it.modify = Arc::new(|_, _| Err(refusal(402))), 402, 4),
        ("endpoint", |it| it.endpoint = || Err(refusal(423)), 423, 5),
    ];
    for (name, change, status, calls) in cases {
        let journal = Journal::default();
        let mut configurator = Scripted::new(&journal);
        change(&mut configurator);
        let server = serve(configurator).await;
        let (answer, _) = try_connect(&server, &[]).await;
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(journal.rest().len(), calls, "{name}");
        assert!(server.container.sessions().is_empty());
    }
}

// ---- check_origin ----

#[tokio::test]
async fn origin_policy_applies_unless_the_configurator_overrides_it() {
    let same: fn(Result<(), Refusal>) -> Result<(), Refusal> = |policy| policy;
    let all: fn(Result<(), Refusal>) -> Result<(), Refusal> = |_| Ok(());
    let none: fn(Result<(), Refusal>) -> Result<(), Refusal> = |_| Err(Refusal::new(StatusCode::FORBIDDEN));
    for (rule, origin, status) in [
        (same, None, 101),
        (same, Some("https://evil.example"), 403),
        (same, Some("null"), 403),
        (all, Some("https://evil.example"), 101),
        (all, Some("null"), 101),
        (none, None, 403),
        (none, Some("https://evil.example"), 403),
    ] {
        let mut configurator = Scripted::new(&Journal::default());
        configurator.origin = rule;
        let server = serve(configurator).await;
        let header = origin.map(|origin| format!("Origin: {origin}"));
        let (answer, _client) = try_connect(&server, &header.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(answer.status, status, "{origin:?}");
    }
}

#[tokio::test]
async fn origin_of_the_server_itself_is_admitted() {
    let server = serve(Scripted::new(&Journal::default())).await;
    let (answer, _client) = try_connect(&server, &[&format!("Origin: http://{}", server.addr)]).await;
    assert_eq!(answer.status, 101);
}

// ---- select_subprotocol ----

#[tokio::test]
async fn subprotocol_is_the_one_that_was_chosen() {
    let servers_order: for<'a> fn(&[&'a str], &[&'a str]) -> Option<&'a str> =
        |supported, offered| supported.iter().copied().find(|supported| offered.contains(supported));
    let last_offered: for<'a> fn(&[&'a str], &[&'a str]) -> Option<&'a str> = |_, offered| offered.last().copied();
    let none: for<'a> fn(&[&'a str], &[&'a str]) -> Option<&'a str> = |_, _| None;
    for (choose, offered, chosen) in [
        (servers_order, Some("0, 2, 4"), Some("4")),
        // the annotation need not list it
        (last_offered, Some("2, own.v7"), Some("own.v7")),
        (none, Some("2"), None),
        (last_offered, None, None),
    ] {
        let mut configurator = Scripted::new(&Journal::default());
        configurator.subprotocol = choose;
        let server = serve(configurator).await;
        let header = offered.map(|offered| format!("Sec-WebSocket-Protocol: {offered}"));
        let (answer, mut client) = try_connect(&server, &header.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, chosen), "{offered:?}");
        asked(&mut client, "subprotocol?", &format!("{chosen:?}")).await;
    }
}

#[tokio::test]
async fn subprotocol_that_was_not_offered_is_refused_and_logged() {
    let log = Log::capture();
    let mut configurator = Scripted::new(&Journal::default());
    configurator.subprotocol = |supported, _| supported.first().copied();
    let server = serve(configurator).await;
    let (answer, _) = try_connect(&server, &["Sec-WebSocket-Protocol: 2"]).await;
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("offered"), "{answer:?}");
    assert_eq!(log.lines(r#"it selected the subprotocol "1", which the client did not offer"#).len(), 1);
}

// ---- negotiate_extensions ----

#[tokio::test]
async fn extension_is_the_first_that_was_chosen_and_is_spoken() {
    let all: for<'o> fn(&'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> = |offered| offered.iter().collect();
    let none: for<'o> fn(&'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> = |_| Vec::new();
    let reversed: for<'o> fn(&'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> =
        |offered| offered.iter().rev().collect();
    let offers = "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate; server_max_window_bits=10, x-own";
    for (choose, bits) in [(all, Some("")), (none, None), (reversed, Some("server_max_window_bits=10; "))] {
        let mut configurator = Scripted::new(&Journal::default());
        configurator.extensions = choose;
        let server = serve(configurator).await;
        let (answer, mut client) = try_connect(&server, &[offers]).await;
        let expected = bits
            .map(|bits| format!("permessage-deflate; {bits}server_no_context_takeover; client_no_context_takeover"));
        assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, expected.as_deref()));
        asked(&mut client, "extensions?", &format!("[{}]", expected.unwrap_or_default())).await;
    }
}

// ---- modify_handshake ----

#[tokio::test]
async fn headers_reach_the_client_and_properties_the_session() {
    let mut configurator = Scripted::new(&Journal::default());
    configurator.modify = Arc::new(|request, response| {
        response.headers_mut().append("set-cookie", HeaderValue::from_static("a=1"));
        response.headers_mut().append("set-cookie", HeaderValue::from_static("b=2"));
        let word = request.header("X-WORD").unwrap_or("none").to_owned();
        response.headers_mut().insert("x-word", HeaderValue::from_str(&word).unwrap());
        response.properties().insert(Note(word));
        Ok(())
    });
    let server = serve(configurator).await;
    let (answer, mut first) = try_connect(&server, &["x-word: one"]).await;
    assert_eq!((answer.status, answer.header("X-Word")), (101, Some("one")));
    let cookies: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    asked(&mut first, "note?", r#"Some("one")"#).await;
    asked(&mut first, "forget", r#"Some("one")"#).await;
    // each connection has its own
    let (_, mut second) = try_connect(&server, &[]).await;
    asked(&mut second, "note?", r#"Some("none")"#).await;
    asked(&mut first, "note?", "None").await;
}

#[tokio::test]
async fn refusal_has_any_status_headers_and_body() {
    let mut configurator = Scripted::new(&Journal::default());
    configurator.modify = Arc::new(|_, _| {
        Err(Refusal::new(StatusCode::TEMPORARY_REDIRECT)
            .with_header(http::header::LOCATION, HeaderValue::from_static("/login"))
            .with_body("log in first"))
    });
    let server = serve(configurator).await;
    let (answer, _) = try_connect(&server, &[]).await;
    assert_eq!((answer.status, answer.header("location"), &*answer.body), (307, Some("/login"), "log in first"));
}

#[tokio::test]
async fn headers_of_the_handshake_itself_cannot_be_set() {
    for name in [
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "sec-websocket-version",
        "content-length",
        "transfer-encoding",
    ] {
        let log = Log::capture();
        let mut configurator = Scripted::new(&Journal::default());
        configurator.modify = Arc::new(move |_, response| {
            response.headers_mut().insert(name, HeaderValue::from_static("x"));
            Ok(())
        });
        let server = serve(configurator).await;
        let (answer, _) = try_connect(&server, &[]).await;
        assert_eq!(answer.status, 500, "{name}");
        let lines = log.lines(&format!("it set the header \"{name}\""));
        assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{lines:?}");
    }
}

#[tokio::test]
async fn panic_in_any_hook_is_a_refusal_and_the_server_goes_on() {
    let cases: [(&str, Change); 5] = [
        ("origin", |it| it.origin = |_| panic!("boom")),
        ("subprotocol", |it| it.subprotocol = |_, _| panic!("boom")),
        ("extensions", |it| it.extensions = |_| panic!("boom")),
        ("modify", |it| it.modify = Arc::new(|_, _| panic!("boom"))),
        ("endpoint", |it| it.endpoint = || panic!("boom")),
    ];
    for (name, change) in cases {
        let log = Log::capture();
        let mut configurator = Scripted::new(&Journal::default());
        change(&mut configurator);
        let server = serve(configurator).await;
        for _ in 0..2 {
            let (answer, _) = try_connect(&server, &[]).await;
            assert_eq!(answer.status, 500, "{name}");
            assert!(!answer.body.contains("boom"), "{name}");
        }
        assert_eq!(log.lines("a handler panicked: boom").len(), 2, "{name}");
    }
}

// ---- time ----

/// Waits for ever, and says when it is cancelled.
struct Patient(Journal);

struct GivenUp(Journal);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.note("cancelled");
    }
}

impl Configurator<Told> for Patient {
    async fn modify_handshake(&self, _: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
        let _given_up = GivenUp(self.0.clone());
        self.0.note("waits");
        std::future::pending().await
    }
}

#[tokio::test]
async fn slow_configurator_is_cancelled_with_503() {
    let journal = Journal::default();
    let container = ServerContainer::builder()
        .endpoint_with_configurator::<Told>(Patient(journal.clone()))
        .handshake_timeout(Duration::from_millis(20));
    let server = TestServer::with(container).await;
    let (answer, _) = try_connect(&server, &[]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    journal.expect("waits").await;
    journal.expect("cancelled").await;
}

#[tokio::test]
async fn client_that_goes_away_cancels_the_configurator() {
    let journal = Journal::default();
    let container = ServerContainer::builder().endpoint_with_configurator::<Told>(Patient(journal.clone()));
    let server = TestServer::with(container).await;
    let addr = server.addr;
    let client = tokio::spawn(async move { Client::try_connect(addr, "/hooked/x", &[]).await });
    journal.expect("waits").await;
    client.abort();
    journal.expect("cancelled").await;
}

/// Waits until it is told.
struct Gate(Journal, Arc<Notify>);

impl Configurator<Told> for Gate {
    async fn modify_handshake(&self, _: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
        self.0.note("waits");
        self.1.notified().await;
        Ok(())
    }
}

#[tokio::test]
async fn shutdown_that_begins_while_a_configurator_waits_refuses_its_handshake() {
    let (journal, open) = (Journal::default(), Arc::new(Notify::new()));
    let gate = Gate(journal.clone(), open.clone());
    let server = TestServer::with(ServerContainer::builder().endpoint_with_configurator::<Told>(gate)).await;
    let addr = server.addr;
    let client = tokio::spawn(async move { Client::try_connect(addr, "/hooked/x", &[]).await.0 });
    journal.expect("waits").await;
    soon(server.container.shutdown(Duration::ZERO)).await;
    open.notify_one();
    assert_eq!(soon(client).await.unwrap().status, 503);
}

// ---- the instance, and how a configurator is named ----

#[tokio::test]
async fn instance_comes_from_the_configurator_else_from_the_mount_else_from_default() {
    for (own, mounted, word) in [(true, true, "own"), (false, true, "mounted"), (false, false, "")] {
        let mut configurator = Scripted::new(&Journal::default());
        if own {
            configurator.endpoint = || Ok(Some(Told { word: "own".into() }));
        }
        let mut container = ServerContainer::builder().register::<Told>();
        if mounted {
            container = container.endpoint_with(|_| Ok(Told { word: "mounted".into() }));
        }
        let server = TestServer::with(container.endpoint_with_configurator::<Told>(configurator)).await;
        let mut client = server.connect("/hooked/x").await;
        asked(&mut client, "word?", word).await;
    }
}

/// Counts its instances, for any endpoint.
struct Counted(usize);

static MADE: AtomicUsize = AtomicUsize::new(0);

impl Default for Counted {
    fn default() -> Self {
        Self(MADE.fetch_add(1, Ordering::SeqCst))
    }
}

impl<E> Configurator<E> for Counted {
    async fn modify_handshake(&self, _: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        response.headers_mut().insert("x-instance", HeaderValue::from(self.0));
        Ok(())
    }
}

#[server_endpoint("/first", configurator = Counted)]
#[derive(Default)]
struct First;

#[server_endpoint("/second", configurator = Counted::default())]
#[derive(Default)]
struct Second;

#[tokio::test]
async fn each_mounted_endpoint_has_one_instance_of_its_configurator() {
    let server = TestServer::with(ServerContainer::builder().register::<First>().register::<Second>()).await;
    let mut seen = Vec::new();
    for path in ["/first", "/first", "/second", "/second"] {
        let (answer, _client) = Client::try_connect(server.addr, path, &[]).await;
        seen.push(answer.header("x-instance").unwrap().to_owned());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[2], seen[3]);
    assert_ne!(seen[0], seen[2]);
    assert_eq!(MADE.load(Ordering::SeqCst), 2);
}

const DOOR: Door = Door("const");

struct Door(&'static str);

impl Configurator<ByConst> for Door {
    fn endpoint(&self, _: &HandshakeRequest) -> Result<Option<ByConst>, Refusal> {
        Ok(Some(ByConst(self.0)))
    }
}

#[server_endpoint("/const", configurator = DOOR)]
struct ByConst(&'static str);

impl ByConst {
    #[on_message]
    fn ask(&self, _: &str) -> &'static str {
        self.0
    }
}

/// Decides nothing. Not [`Counted`], whose instances another test counts at the same time.
#[derive(Default)]
struct Silent;

impl<E> Configurator<E> for Silent {}

#[server_endpoint("/none", configurator = Silent)]
struct NeverMade;

#[tokio::test]
async fn configurator_may_be_any_expression_and_replace_default() {
    let server = TestServer::of::<ByConst>().await;
    asked(&mut server.connect("/const").await, "?", "const").await;
}

#[tokio::test]
async fn endpoint_without_a_constructor_is_refused_and_logged() {
    let log = Log::capture();
    let configurator =
        |_: &HandshakeRequest| -> Result<NeverMade, Refusal> { Err(Refusal::new(StatusCode::IM_A_TEAPOT)) };
    let server = TestServer::of::<NeverMade>().await;
    assert_eq!(Client::try_connect(server.addr, "/none", &[]).await.0.status, 500);
    assert_eq!(log.lines("its configurator created no instance").len(), 1);
    let server = TestServer::with(ServerContainer::builder().endpoint_with(configurator)).await;
    assert_eq!(Client::try_connect(server.addr, "/none", &[]).await.0.status, 418);
}
