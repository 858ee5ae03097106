//! What handlers are given beside the event: the request that opened the session, the parameters of its query, state.

mod support;

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Refusal, ServerContainer};
use support::{Client, Journal, Log, PONG, TestServer};

/// Takes the request in every handler.
#[server_endpoint("/asked/{room}")]
struct Asked(Journal);

impl Asked {
    #[on_open]
    async fn open(&mut self, request: &HandshakeRequest) {
        std::future::ready(()).await;
        self.0.note(format!("open {}", request.header("x-token").unwrap_or("none")));
    }
    #[on_message]
    async fn text(&mut self, request: &HandshakeRequest, text: String) -> String {
        std::future::ready(()).await;
        format!("{text} {}", request.path())
    }
    #[on_message]
    fn binary(&mut self, _: &[u8], request: &HandshakeRequest) -> Option<String> {
        request.query_string().map(str::to_owned)
    }
    #[on_message]
    fn pong(&mut self, _: Pong, request: &HandshakeRequest) -> bool {
        request.is_secure()
    }
    #[on_close]
    fn close(&mut self, request: &HandshakeRequest) -> Result<(), Refused> {
        self.0.note(format!("close {}", request.path_params().get("room").unwrap_or_default()));
        Err(Refused)
    }
    #[on_error]
    async fn error(&mut self, error: &Error, request: &HandshakeRequest) {
        self.0.note(format!("error {error} {}", request.peer_addr().is_some()));
    }
}

#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

/// A type of the application, as a parameter.
#[derive(Debug, PartialEq)]
struct Color(u8, u8, u8);

impl FromStr for Color {
    type Err = Refused;
    fn from_str(text: &str) -> Result<Self, Refused> {
        let number = |at: usize| text.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or(Refused);
        if text.len() == 6 { Ok(Self(number(0)?, number(2)?, number(4)?)) } else { Err(Refused) }
    }
}

#[server_endpoint("/pages")]
struct Pages(Journal);

impl Pages {
    #[on_open]
    fn open(&self, #[query_param] page: u32, #[query_param("per page")] size: Option<u8>) {
        self.0.note(format!("open {page} {size:?}"));
    }
    #[on_message]
    async fn text(
        &self,
        _: String,
        #[query_param] color: Option<Color>,
        #[query_param("tag")] tags: Vec<String>,
    ) -> String {
        std::future::ready(()).await;
        let orange = color == Some(Color(0xff, 0x80, 0));
        format!("{} orange: {orange} {tags:?}", color.is_some())
    }
    #[on_message]
    fn binary(&self, _: &[u8], #[query_param("n")] numbers: Vec<i8>, #[query_param] r#type: Option<String>) -> String {
        format!("{numbers:?} {type:?}", type = r#type)
    }
    #[on_close]
    fn close(&self, #[query_param] page: String) {
        self.0.note(format!("close {page}"));
    }
}

/// Panics when it is parsed.
struct Trap;

impl FromStr for Trap {
    type Err = Refused;
    fn from_str(_: &str) -> Result<Self, Refused> {
        panic!("parsed")
    }
}

#[server_endpoint("/trap/{id}")]
#[derive(Default)]
struct Trapped;

impl Trapped {
    #[on_message]
    fn text(&self, _: &str, #[query_param] trap: Option<Trap>, #[path_param] id: u8) {
        let _ = (trap, id);
    }
}

async fn pages(journal: &Journal) -> TestServer {
    let notes = journal.clone();
    TestServer::with(ServerContainer::builder().endpoint_with(move |_| {
        notes.note("made");
        Ok(Pages(notes.clone()))
    }))
    .await
}

#[tokio::test]
async fn every_handler_sees_the_request() {
    let journal = Journal::default();
    let notes = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Asked(notes.clone())))).await;
    let mut client = Client::connect_with(server.addr, "/asked/blue?a=b", &["X-Token: 42"]).await;
    journal.expect("open 42").await;
    client.text("at").await;
    client.expect_text("at /asked/blue").await;
    client.binary(b"?").await;
    client.expect_text("a=b").await;
    client.send(0x80 | PONG, "x").await;
    client.expect_text("false").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    journal.expect("close blue").await;
    journal.expect("error refused true").await;
}

#[tokio::test]
async fn query_parameters_are_decoded_and_typed() {
    let journal = Journal::default();
    let server = pages(&journal).await;
    let mut client = server.connect("/pages?page=%31%32&per+page=7&tag=a%26b&tag=&tag=c+d&color=ff8000&n=-1&n=2").await;
    journal.expect("made").await;
    journal.expect("open 12 Some(7)").await;
    client.text("").await;
    client.expect_text(r#"true orange: true ["a&b", "", "c d"]"#).await;
    client.binary(b"").await;
    client.expect_text("[-1, 2] None").await;
    client.close(1000, "").await;
    journal.expect("close 12").await;
}

#[tokio::test]
async fn optional_parameters_may_be_missing_and_the_first_of_several_wins() {
    let journal = Journal::default();
    let server = pages(&journal).await;
    let mut client = server.connect("/pages?page=1&page=x&type=t").await;
    journal.expect("made").await;
    journal.expect("open 1 None").await;
    client.text("").await;
    client.expect_text("false orange: false []").await;
    client.binary(b"").await;
    client.expect_text(r#"[] Some("t")"#).await;
}

#[tokio::test]
async fn a_missing_or_wrong_query_parameter_refuses_the_handshake_before_an_instance_is_made() {
    let journal = Journal::default();
    let server = pages(&journal).await;
    for (query, reason) in [
        ("", r#"the query has no parameter "page""#),
        ("?pages=1", r#"the query has no parameter "page""#),
        ("?page=", r#"the query parameter "page" is not of type u32: cannot parse"#),
        ("?page=-1", r#"the query parameter "page" is not of type u32: invalid digit"#),
        ("?page=x&page=1", r#"the query parameter "page" is not of type u32: invalid digit"#),
        ("?page=1&per+page=256", r#"the query parameter "per page" is not of type u8: number too large"#),
        ("?page=1&per%20page", r#"the query parameter "per page" is not of type u8: cannot parse"#),
        ("?page=1&color=red", r#"the query parameter "color" is not of type parameters::Color: refused"#),
        ("?page=1&n=1&n=one", r#"the query parameter "n" is not of type i8: invalid digit"#),
    ] {
        let log = Log::capture();
        let (answer, _) = Client::try_connect(server.addr, &format!("/pages{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("query parameter"), "{answer:?}");
        // the client is not told what was expected, the log is
        assert!(!answer.body.contains("u32"), "{answer:?}");
        let lines = log.lines("handshake refused");
        assert!(lines.len() == 1 && lines[0].contains(reason), "{query}: {lines:?}");
    }
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn refusal_names_the_query_parameter() {
    let refusal = Refusal::bad_query_parameter(&Error::user("why"));
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (400, "why"));
}

#[tokio::test]
async fn a_panic_while_parsing_refuses_the_handshake() {
    let server = TestServer::of::<Trapped>().await;
    let (answer, _) = Client::try_connect(server.addr, "/trap/1?trap=x", &[]).await;
    assert_eq!(answer.status, 400);
    server.connect("/trap/1").await;
}

#[tokio::test]
async fn invalid_path_is_reported_before_an_invalid_query() {
    let server = TestServer::of::<Trapped>().await;
    let (answer, _) = Client::try_connect(server.addr, "/trap/x?trap=x", &[]).await;
    assert_eq!(answer.status, 404);
}

// ---- state ----

/// Counts, for all sessions together; is neither `Clone` nor `Debug`.
struct Visits(AtomicUsize);

#[server_endpoint("/state")]
#[derive(Default)]
struct Stateful;

impl Stateful {
    #[on_open]
    async fn open(&mut self, visits: State<Visits>, journal: &State<Journal>) {
        std::future::ready(()).await;
        journal.note(format!("open {}", visits.0.fetch_add(1, SeqCst)));
    }
    #[on_message]
    async fn text(&mut self, prefix: State<String>, text: String) -> String {
        std::future::ready(()).await;
        format!("{}{text}", *prefix)
    }
    #[on_message]
    fn binary(&mut self, _: &[u8], visits: &State<Visits>, prefix: State<String>) -> String {
        format!("{}{}", prefix.as_str(), visits.0.load(SeqCst))
    }
    #[on_message]
    async fn pong(&mut self, _: Pong, session: &Session) -> String {
        let (text, number) = (session.state::<String>(), session.state::<u64>());
        format!("{:?} {:?}", text.map(|text| text.len()), number)
    }
    #[on_close]
    fn close(&mut self, journal: State<Journal>) -> Result<(), Refused> {
        journal.note("close");
        Err(Refused)
    }
    #[on_error]
    async fn failed(&mut self, _: &Error, journal: State<Journal>, visits: State<Visits>) {
        journal.note(format!("error {}", visits.0.load(SeqCst)));
    }
}

/// Another endpoint with the same state.
#[server_endpoint("/state/other")]
#[derive(Default)]
struct Other;

impl Other {
    #[on_message]
    fn text(&mut self, _: &str, visits: State<Visits>) -> usize {
        visits.0.load(SeqCst)
    }
}

#[tokio::test]
async fn every_handler_of_every_endpoint_shares_the_state() {
    let journal = Journal::default();
    let container = ServerContainer::builder()
        .state(Visits(AtomicUsize::new(7)))
        .register::<Stateful>()
        .register::<Other>()
        .state(journal.clone())
        .state("> ".to_owned());
    let server = TestServer::with(container).await;
    let mut first = server.connect("/state").await;
    journal.expect("open 7").await;
    let mut second = server.connect("/state").await;
    journal.expect("open 8").await;
    first.text("x").await;
    first.expect_text("> x").await;
    second.binary(b"").await;
    second.expect_text("> 9").await;
    first.send(0x80 | PONG, "").await;
    first.expect_text("Some(2) None").await;
    let mut other = server.connect("/state/other").await;
    other.text("").await;
    other.expect_text("9").await;
    first.close(1000, "").await;
    journal.expect("close").await;
    journal.expect("error 9").await;
}

#[tokio::test]
async fn state_of_the_server_builder_reaches_the_handlers() {
    let server = Server::with(ServerContainer::builder().register::<Other>()).state(Visits(AtomicUsize::new(3)));
    let server = TestServer::serving(server).await;
    let mut client = server.connect("/state/other").await;
    client.text("").await;
    client.expect_text("3").await;
}

#[test]
fn missing_state_is_a_deployment_error_naming_endpoint_handler_and_type() {
    let builder = ServerContainer::builder().register::<Stateful>().register::<Other>().state(String::new());
    let error = builder.build().unwrap_err();
    assert!(error.is_deployment());
    let text = error.to_string();
    for part in [
        "parameters::Stateful",
        file!(),
        "`open` takes State<parameters::Visits>",
        "`open` takes State<parameters::support::Journal>",
        "`binary` takes State<parameters::Visits>",
        "`close` takes State<parameters::support::Journal>",
        "`failed` takes State<parameters::Visits>",
        "parameters::Other",
        "`text` takes State<parameters::Visits>",
    ] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
    assert!(!text.contains("State<alloc::string::String>"), "{text:?}");
}

#[tokio::test]
async fn missing_state_is_found_before_the_port_is_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broken = Server::with(ServerContainer::builder().register::<Other>());
    assert!(broken.bind(taken.local_addr().unwrap()).await.unwrap_err().is_deployment());
}

#[test]
fn unmounted_endpoints_need_no_state() {
    ServerContainer::builder().register::<Other>().only(|_| false).build().unwrap();
}

#[test]
fn handler_can_be_called_directly() {
    assert_eq!(Other.text("", State::new(Visits(AtomicUsize::new(1)))), 1);
}

mod domain {
    use endpoint_runtime::{Binary, DecodeBinary, DecodeText, Error, Text};

    /// A message of the application, named like a type of the runtime.
    pub struct Session(pub String);

    impl DecodeText for Session {
        fn decode_text(text: Text) -> Result<Self, Error> {
            Ok(Self(format!("text {text}")))
        }
    }

    /// Another one.
    pub struct Pong(pub usize);

    impl DecodeBinary for Pong {
        fn decode_binary(data: Binary) -> Result<Self, Error> {
            Ok(Self(data.len()))
        }
    }
}

#[server_endpoint("/own")]
#[derive(Default)]
struct OwnTypes;

impl OwnTypes {
    #[on_message(text)]
    fn text(&self, own: domain::Session, session: &Session, State(visits): State<Visits>) -> String {
        let visit = visits.0.fetch_add(1, SeqCst);
        format!("{} {} {visit}", own.0, session.is_open())
    }

    #[on_message(binary)]
    async fn binary(&self, own: domain::Pong, State(visits): &State<Visits>) -> usize {
        own.0 + visits.0.load(SeqCst)
    }
}

#[tokio::test]
async fn own_types_named_like_ours_are_messages_and_a_state_may_be_a_pattern() {
    let container = ServerContainer::builder().register::<OwnTypes>().state(Visits(AtomicUsize::new(7)));
    let server = TestServer::with(container).await;
    let mut client = server.connect("/own").await;
    client.text("x").await;
    client.expect_text("text x true 7").await;
    client.binary(b"ab").await;
    client.expect_text("10").await;
}
