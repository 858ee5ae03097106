//! Area J: what the handshake decides, and what an endpoint is made of. (Each hook alone: `tests/configurator.rs`.)

use std::sync::atomic::{AtomicU32, Ordering};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, ContainerBuilder, EndpointConfig, ExtensionOffer, HandshakeResponse};

use crate::support::{Client, Journal, TestServer};

#[server_endpoint("/spoken", subprotocols("1", "3", "5", "4", "2"))]
#[derive(Default)]
struct Spoken;

impl Spoken {
    #[on_message]
    fn text(&self, _asked: &str, session: &Session) -> String {
        format!("{:?} {:?}", session.subprotocol(), session.extensions())
    }
}

/// Is made with data of its own.
#[server_endpoint("/made", subprotocols("1", "3", "5", "4", "2"), compression = on)]
struct Made {
    number: u32,
}

/// What a session finds among its properties.
#[derive(Clone, Debug)]
struct Keys(Vec<&'static str>);

impl Made {
    #[on_message]
    fn text(&self, asked: &str, session: &Session) -> String {
        match asked {
            "change" => {
                session.properties().with(|keys: &mut Keys| keys.0.push("changed by the session"));
                "changed".to_owned()
            }
            _ => format!("{} {:?}", self.number, session.properties().get::<Keys>().unwrap_or(Keys(vec![])).0),
        }
    }
}

/// Notes its hooks, and makes instances that are numbered.
struct Noting {
    journal: Journal,
    made: AtomicU32,
}

impl Configurator<Made> for Noting {
    fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        self.journal.note(format!("checkOrigin {:?}", request.header("origin")));
        policy
    }

    fn select_subprotocol<'a>(&self, supported: &[&'a str], offered: &[&'a str]) -> Option<&'a str> {
        self.journal.note(format!("getNegotiatedSubprotocol {supported:?} {offered:?}"));
        offered.iter().copied().find(|offered| supported.contains(offered))
    }

    fn negotiate_extensions<'o>(&self, offered: &'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> {
        let offers: Vec<_> = offered.iter().map(|one| (one.name(), one.parameters().collect::<Vec<_>>())).collect();
        self.journal.note(format!("getNegotiatedExtensions {offers:?}"));
        offered.iter().collect()
    }

    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        self.journal.note(format!("modifyHandshake {} {:?}", request.path(), response.subprotocol()));
        response.properties().insert(Keys(vec!["put by the configurator"]));
        Ok(())
    }

    fn endpoint(&self, _request: &HandshakeRequest) -> Result<Option<Made>, Refusal> {
        self.journal.note("getEndpointInstance");
        Ok(Some(Made { number: self.made.fetch_add(1, Ordering::Relaxed) }))
    }
}

fn container(journal: &Journal) -> ContainerBuilder {
    let noting = Noting { journal: journal.clone(), made: AtomicU32::new(0) };
    ServerContainer::builder().register::<Spoken>().endpoint_with_configurator::<Made>(noting)
}

#[tokio::test]
async fn subprotocol_is_the_first_of_the_clients_supported_ones() {
    let server = TestServer::with(container(&Journal::default())).await;
    for (rule, offered, agreed) in [
        ("J getNegotiatedSubprotocol, WSC-4.1.4-1", Some("0, 2, 4"), Some("2")),
        ("J in the client's order", Some("4, 2"), Some("4")),
        ("J none in common: connected all the same", Some("0, 6"), None),
        ("J none asked for", None, None),
    ] {
        println!("{rule}");
        let line = offered.map(|offered| format!("Sec-WebSocket-Protocol: {offered}"));
        let headers: Vec<&str> = line.as_deref().into_iter().collect();
        let (answer, mut client) = Client::try_connect(server.addr, "/spoken", &headers).await;
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, agreed));
        client.text("?").await;
        client.expect_text(&format!("{agreed:?} []")).await;
    }
}

#[tokio::test]
async fn hooks_are_called_once_in_their_order_with_what_was_sent() {
    println!("J checkOrigin, subprotocol, extensions, modifyHandshake, instance");
    let journal = Journal::default();
    let server = TestServer::with(container(&journal)).await;
    let origin = format!("Origin: http://{}", server.addr);
    let headers = [
        &*origin,
        "Sec-WebSocket-Protocol: 0, 2, 4",
        "Sec-WebSocket-Extensions: x-one; a=b; c, permessage-deflate; server_no_context_takeover",
    ];
    let (answer, _client) = Client::try_connect(server.addr, "/made", &headers).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("2")));
    println!("J the answer has what was asked for and is installed, in the order of the request");
    assert_eq!(
        answer.header("sec-websocket-extensions"),
        Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
    );
    journal.expect(&format!("checkOrigin Some(\"http://{}\")", server.addr)).await;
    journal.expect("getNegotiatedSubprotocol [\"1\", \"3\", \"5\", \"4\", \"2\"] [\"0\", \"2\", \"4\"]").await;
    let extensions = journal.next().await;
    assert!(extensions.contains("permessage-deflate"), "{extensions}");
    journal.expect("modifyHandshake /made Some(\"2\")").await;
    journal.expect("getEndpointInstance").await;
    assert_eq!(journal.rest(), <[&str; 0]>::default());
}

#[tokio::test]
async fn origin_is_checked_before_anything_else() {
    let journal = Journal::default();
    let server = TestServer::with(container(&journal).allowed_origins(["https://example.org"])).await;
    for (rule, origin, status) in [
        ("J checkOrigin gets null where there is no header", None, 101),
        ("J checkOrigin returns true", Some("Origin: https://example.org"), 101),
        ("J checkOrigin returns false", Some("Origin: https://example.com"), 403),
        ("J checkOrigin of a suffix", Some("Origin: https://notexample.org"), 403),
        ("J checkOrigin of a prefix", Some("Origin: https://example.org.evil.net"), 403),
        ("J checkOrigin of no port", Some("Origin: https://example.org:90000"), 403),
        ("J checkOrigin of another scheme", Some("Origin: http://example.org"), 403),
        ("J checkOrigin of user information", Some("Origin: https://example.org@evil.net"), 403),
        ("J checkOrigin of a sandboxed page", Some("Origin: null"), 403),
        ("J checkOrigin then returns true again", Some("Origin: https://EXAMPLE.org:443"), 101),
    ] {
        println!("{rule}");
        let headers: Vec<&str> = origin.into_iter().collect();
        let (answer, _client) = Client::try_connect(server.addr, "/made", &headers).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let value = origin.map(|line| line.trim_start_matches("Origin: "));
        journal.expect(&format!("checkOrigin {value:?}")).await;
        // refused: no other hook, no instance
        let others = journal.rest();
        assert_eq!(others.iter().any(|hook| hook == "getEndpointInstance"), status == 101, "{others:?}");
        assert_eq!(others.is_empty(), status == 403, "{others:?}");
    }
}

#[tokio::test]
async fn properties_of_the_handshake_are_those_of_one_session_alone() {
    println!("J getEndpointInstance, WSC-3.1.7-1: once for each connection, with data of its own");
    println!("J user properties: put in modifyHandshake, seen by the session, never by the next one");
    let server = TestServer::with(container(&Journal::default())).await;
    for number in 0..2 {
        let mut client = server.connect("/made").await;
        for (asked, heard) in [
            ("?", format!("{number} [\"put by the configurator\"]")),
            ("change", "changed".to_owned()),
            ("?", format!("{number} [\"put by the configurator\", \"changed by the session\"]")),
        ] {
            client.text(asked).await;
            client.expect_text(&heard).await;
        }
    }
}

/// How many were made.
static CONFIGURATORS: AtomicU32 = AtomicU32::new(0);

struct Counted;

impl Default for Counted {
    fn default() -> Self {
        CONFIGURATORS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl<E> Configurator<E> for Counted {}

#[server_endpoint("/counted/one", configurator = Counted)]
#[derive(Default)]
struct CountedOne;

#[server_endpoint("/counted/two", configurator = Counted)]
#[derive(Default)]
struct CountedTwo;

#[tokio::test]
async fn each_endpoint_has_one_configurator() {
    println!("J a new configurator for each logical endpoint, WSC-3.1-1");
    let server = TestServer::with(ServerContainer::builder().register::<CountedOne>().register::<CountedTwo>()).await;
    for path in ["/counted/one", "/counted/one", "/counted/two"] {
        server.connect(path).await.expect_silence().await;
    }
    assert_eq!(CONFIGURATORS.load(Ordering::Relaxed), 2);
}

#[test]
fn mounted_endpoints_can_be_listed() {
    println!("J getPath, getEndpointClass");
    let container = container(&Journal::default()).context_path("/app").build().unwrap();
    let mut mounted: Vec<String> = container.endpoints().map(|one| format!("{} {}", one.path, one.name)).collect();
    mounted.sort();
    assert_eq!(mounted, ["/app/made jakarta::configuration::Made", "/app/spoken jakarta::configuration::Spoken"]);
    println!("J Builder: a path that does not begin with a slash, WSC-4.1.1-3");
    for path in ["", "echo", "/a//b", "/{a}/{a}", "/a{b}"] {
        let config = EndpointConfig::new(path, || Unheard);
        let error = ServerContainer::builder().add_endpoint_config(config).build().unwrap_err();
        assert!(error.is_deployment(), "{path:?}: {error}");
    }
}

struct Unheard;

impl endpoint_runtime::Endpoint for Unheard {
    async fn on_open(&mut self, _session: &Session) -> Result<(), Error> {
        Ok(())
    }
}
