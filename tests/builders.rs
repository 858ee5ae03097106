//! Calls of one kind on a builder add up, or the second is a configuration error: none replaces another silently.

mod support;

use std::convert::Infallible;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, Endpoint, EndpointConfig, Proxy, TlsConfig, Trust};
use http_body_util::Full;
use support::{Client, TestServer};

#[server_endpoint("/one")]
#[derive(Default)]
struct One;

impl One {
    #[on_message]
    fn echo(&mut self, line: &str, count: State<u32>) -> String {
        format!("{line} {}", *count)
    }
}

#[server_endpoint("/two")]
#[derive(Default)]
struct Two;

#[server_endpoint("/three", instance = shared)]
#[derive(Default)]
struct Three;

#[derive(Default)]
struct Hooks;
impl Configurator<One> for Hooks {}
impl Configurator<Plain> for Hooks {}

struct Plain;

impl Endpoint for Plain {
    async fn on_open(&mut self, _: &Session) -> Result<(), Error> {
        Ok(())
    }
}

fn all() -> endpoint_runtime::ContainerBuilder {
    ServerContainer::builder().register::<One>().register::<Two>().register::<Three>().state(1u32)
}

/// The configuration error of a builder.
#[track_caller]
fn mistake<T: std::fmt::Debug>(built: Result<T, Error>, parts: &[&str]) {
    let error = built.unwrap_err();
    assert!(error.is_deployment(), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error}\nlacks {part:?}");
    }
}

#[test]
fn several_only_keep_what_all_of_them_keep() {
    let container = all().only(|info| info.path != "/one").only(|info| info.path != "/two").build().unwrap();
    assert_eq!(container.endpoints().map(|info| info.path.into_owned()).collect::<Vec<_>>(), ["/three"]);
    let container = all().only(|info| info.path == "/one").only(|info| info.path == "/two").build().unwrap();
    assert_eq!(container.endpoints().count(), 0);
}

#[tokio::test]
async fn allowed_hosts_and_origins_add_up() {
    let container = all()
        .allowed_hosts(["one.example"])
        .allowed_hosts(["two.example", "127.0.0.1"])
        .allowed_origins(["https://a.example"])
        .allowed_origins(["https://b.example"]);
    let server = TestServer::with(container).await;
    for (host, origin, status) in [
        ("one.example", "https://a.example", 101),
        ("two.example", "https://b.example", 101),
        ("one.example", "https://b.example", 101),
        ("three.example", "https://a.example", 421),
        ("one.example", "https://c.example", 403),
    ] {
        let lines = [
            "GET /one HTTP/1.1",
            &format!("Host: {host}"),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            &format!("Origin: {origin}"),
        ];
        let (answer, _) = Client::request(server.addr, &lines, b"").await;
        assert_eq!(answer.status, status, "{host} {origin}");
    }
}

#[test]
fn empty_list_admits_nothing_and_all_bad_entries_are_named() {
    assert!(all().allowed_hosts([] as [&str; 0]).build().is_ok());
    let built =
        all().allowed_hosts(["a b"]).allowed_hosts(["c d"]).allowed_origins(["x"]).allowed_origins(["y"]).build();
    mistake(built, &["a b", "c d", "\"x\"", "\"y\""]);
}

#[test]
fn contradictory_origins_are_a_mistake() {
    mistake(
        all().allowed_origins(["https://a.example"]).origins(Origins::any()).build(),
        &["allowed_origins", "origins"],
    );
    mistake(
        all().origins(Origins::any()).allowed_origins(["https://a.example"]).build(),
        &["allowed_origins", "origins"],
    );
    mistake(all().origins(Origins::any()).origins(Origins::same_origin()).build(), &["origins", "twice"]);
}

#[test]
fn second_value_of_one_state_is_a_mistake() {
    mistake(all().state(2u32).build(), &["State<u32> is provided twice"]);
    assert!(all().state(2u64).build().is_ok());
}

#[test]
fn missing_state_names_a_similar_one() {
    let built = ServerContainer::builder().register::<One>().state(std::sync::Arc::new(1u32)).build();
    mistake(built, &["takes State<u32>", "(State<alloc::sync::Arc<u32>> is provided)"]);
    let built = ServerContainer::builder().register::<One>().state("other").build();
    assert!(!built.unwrap_err().to_string().contains("is provided"));
    let container = all().build().unwrap();
    assert_eq!((container.state::<u32>().map(|state| **state), container.state::<u8>().is_some()), (Some(1), false));
}

#[test]
fn second_constructor_or_configurator_is_a_mistake() {
    let construct = |_: &HandshakeRequest| Ok(One);
    mistake(all().endpoint_with(construct).endpoint_with(construct).build(), &["One", "two constructors"]);
    mistake(all().endpoint_shared(Three).endpoint_shared(Three).build(), &["Three", "two constructors"]);
    let twice = all().endpoint_with_configurator::<One>(Hooks).endpoint_with_configurator::<One>(Hooks);
    mistake(twice.build(), &["One", "two configurators"]);
    // one of each, beside the registration
    assert!(all().endpoint_with(construct).endpoint_with_configurator::<One>(Hooks).build().is_ok());
    assert!(all().register::<One>().register::<One>().build().is_ok());
}

#[test]
fn second_list_of_an_endpoint_without_annotations_is_a_mistake() {
    let config = || EndpointConfig::new("/plain", || Plain);
    let build = |config| ServerContainer::builder().add_endpoint_config(config).build();
    mistake(build(config().subprotocols(&["a"]).subprotocols(&["b"])), &["Plain", "`subprotocols` is set twice"]);
    mistake(build(config().roles(&["admin"]).roles(&["user"])), &["`roles` is set twice"]);
    mistake(build(config().configurator(Hooks).configurator(Hooks)), &["`configurator` is set twice"]);
    let container = ServerContainer::builder().build().unwrap();
    mistake(container.add_endpoint_config(config().roles(&["admin"]).roles(&["user"])), &["`roles` is set twice"]);
}

#[tokio::test]
async fn second_fallback_or_tls_is_a_mistake_and_all_are_told_together() {
    let page = || {
        tower::service_fn(|_: http::Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"page"))))
        })
    };
    let tls = || TlsConfig::self_signed(["localhost"]).unwrap();
    let server = Server::with(all().state(2u32)).fallback(page()).fallback(page()).tls(tls()).tls(tls());
    mistake(server.bind("127.0.0.1:0").await, &["the fallback is set twice", "`tls`", "State<u32>"]);
}

#[client_endpoint]
#[derive(Debug)]
struct Bot;

impl Bot {
    #[on_message]
    fn heard(&mut self, _line: &str) {}
}

#[tokio::test]
async fn contradictions_of_a_client_fail_each_connect() {
    let client = ClientContainer::builder()
        .trust(Trust::public())
        .trust(Trust::public())
        .proxy(Proxy::none())
        .proxy(Proxy::none())
        .state(1u8)
        .state(2u8)
        .build();
    let connected = client.connect(Bot, "ws://127.0.0.1:9/").await;
    mistake(connected, &["`trust`", "the proxy is set twice", "State<u8>"]);
}
