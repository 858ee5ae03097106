//! What may be mounted together, what is refused before anything is served, and what is found by itself.

mod support;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Server, ServerContainer, ServerEndpoint, TrailingSlash};
use support::{Client, Log, TestServer};

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn echo(&mut self, message: &str) -> String {
        message.to_owned()
    }
}

#[server_endpoint("/room/{name}")]
#[derive(Default)]
struct Room;

mod bad {
    use super::*;

    #[server_endpoint("/echo")]
    #[derive(Default)]
    pub struct SameAsEcho;

    #[server_endpoint("/room/{other}")]
    #[derive(Default)]
    pub struct LikeRoom;

    #[server_endpoint("/room/{name}/")]
    #[derive(Default)]
    pub struct RoomWithSlash;

    #[server_endpoint("/needy")]
    pub struct Needy(pub &'static str);

    impl Needy {
        #[on_message]
        fn on_message(&mut self, _: &str) -> &'static str {
            self.0
        }
    }
}

fn mistakes(container: ContainerBuilder) -> String {
    let error = container.build().map(drop).unwrap_err();
    assert!(error.is_deployment(), "{error:?}");
    error.to_string()
}

/// `file:line` of an annotation.
fn place<E: ServerEndpoint + Default>() -> String {
    let container = ServerContainer::builder().register::<E>().build().unwrap();
    let endpoint = container.endpoints().next().unwrap();
    assert!(endpoint.file.ends_with("tests/deployment.rs") && endpoint.line > 1, "{endpoint:?}");
    format!("{}:{}", endpoint.file, endpoint.line)
}

fn is_good(endpoint: &endpoint_runtime::EndpointInfo<'_>) -> bool {
    !endpoint.name.contains("::bad::")
}

// ---- refused ----

#[test]
fn two_endpoints_of_one_path_are_refused_with_both_places() {
    let text = mistakes(ServerContainer::builder().register::<Echo>().register::<bad::SameAsEcho>());
    for part in [&place::<Echo>(), &place::<bad::SameAsEcho>(), "/echo", "Echo", "SameAsEcho"] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
}

#[test]
fn equivalent_templates_are_refused_with_both_places() {
    let text = mistakes(ServerContainer::builder().register::<Room>().register::<bad::LikeRoom>());
    for part in [&place::<Room>(), &place::<bad::LikeRoom>(), "/room/{name}", "/room/{other}"] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
}

#[test]
fn a_slash_at_the_end_makes_another_path_unless_it_is_ignored() {
    let both = || ServerContainer::builder().register::<Room>().register::<bad::RoomWithSlash>();
    assert_eq!(both().build().unwrap().endpoints().count(), 2);
    let text = mistakes(both().trailing_slash(TrailingSlash::Ignore));
    for part in [place::<Room>(), place::<bad::RoomWithSlash>()] {
        assert!(text.contains(&part), "{part} is not in {text:?}");
    }
}

#[test]
fn an_endpoint_that_cannot_be_constructed_is_refused_with_the_remedy() {
    let text = mistakes(ServerContainer::builder().register::<bad::Needy>());
    for part in ["Needy", "deployment.rs:", "#[derive(Default)]", "endpoint_with"] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
}

#[test]
fn a_malformed_context_path_is_refused() {
    for path in ["ws", "/ws/", "/{tenant}", "//", "/a//b", "/..", "/a/./b", "ws/"] {
        let text = mistakes(ServerContainer::builder().register::<Echo>().context_path(path));
        assert!(text.contains(&format!("{path:?}")), "{text}");
    }
}

#[test]
fn malformed_origins_are_refused() {
    let text = mistakes(ServerContainer::builder().register::<Echo>().allowed_origins(["*", "https://a.org", "b.org"]));
    for part in ["\"*\"", "\"b.org\"", "Origins::any()"] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
    assert!(!text.contains("a.org\" "), "{text}");
}

#[test]
fn all_mistakes_are_reported_together() {
    let text = mistakes(
        ServerContainer::builder()
            .register::<Echo>()
            .register::<bad::SameAsEcho>()
            .register::<Room>()
            .register::<bad::LikeRoom>()
            .register::<bad::Needy>()
            .context_path("nowhere")
            .allowed_origins(["nobody"]),
    );
    for part in [
        &place::<Echo>(),
        &place::<bad::SameAsEcho>(),
        &place::<Room>(),
        &place::<bad::LikeRoom>(),
        "Needy",
        "\"nowhere\"",
        "\"nobody\"",
    ] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
}

#[tokio::test]
async fn mistakes_are_found_before_the_port_is_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let broken = Server::with(ServerContainer::builder().register::<Echo>().register::<bad::SameAsEcho>());
    assert!(broken.bind(addr).await.unwrap_err().is_deployment());
    let sound = Server::with(ServerContainer::builder().register::<Echo>());
    assert!(sound.bind(addr).await.unwrap_err().is_io());
}

// ---- mounted ----

#[tokio::test]
async fn zero_endpoints_are_a_container_that_answers_404_and_a_warning() {
    let log = Log::capture();
    let server = TestServer::with(ServerContainer::builder()).await;
    let lines = log.lines("WARN");
    assert!(lines.len() == 1 && lines[0].contains("no endpoint is mounted"), "{lines:?}");
    let (answer, _) = Client::try_connect(server.addr, "/echo", &[]).await;
    assert_eq!(answer.status, 404);
}

#[test]
fn mounted_endpoints_are_logged_with_their_location() {
    let log = Log::capture();
    ServerContainer::builder().register::<Echo>().context_path("/ws").build().unwrap();
    let lines = log.lines("INFO");
    assert!(lines.len() == 1 && lines[0].contains("/ws/echo") && lines[0].contains(&place::<Echo>()), "{lines:?}");
    assert_eq!(log.lines("WARN"), [""; 0]);
}

#[test]
fn annotated_endpoints_are_discovered_with_path_type_and_place() {
    let container = ServerContainer::builder().discover().only(is_good).context_path("/ws").build().unwrap();
    let mut found: Vec<_> = container
        .endpoints()
        .map(|endpoint| (endpoint.path.into_owned(), endpoint.name, format!("{}:{}", endpoint.file, endpoint.line)))
        .collect();
    found.sort();
    let expected = [
        ("/ws/echo".to_owned(), "deployment::Echo", place::<Echo>()),
        ("/ws/room/{name}".to_owned(), "deployment::Room", place::<Room>()),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_server_discovers_by_itself() {
    let server = TestServer::serving(Server::builder().only(is_good)).await;
    let mut client = server.connect("/echo").await;
    client.text("x").await;
    client.expect_text("x").await;
}

#[test]
fn only_filter_sees_paths_without_the_context_path() {
    let container = ServerContainer::builder()
        .discover()
        .only(|endpoint| endpoint.path.starts_with("/room") && is_good(endpoint))
        .context_path("/ws");
    let container = container.build().unwrap();
    assert_eq!(container.endpoints().map(|endpoint| endpoint.path).collect::<Vec<_>>(), ["/ws/room/{name}"]);
}

#[test]
fn endpoints_excluded_by_only_may_be_invalid() {
    let left_out = ServerContainer::builder().discover().only(|endpoint| endpoint.name.ends_with("::Echo"));
    assert_eq!(left_out.build().unwrap().endpoints().count(), 1);
    // without it the same would be refused
    assert!(mistakes(ServerContainer::builder().discover()).contains("Needy"));
}

#[test]
fn mounting_twice_is_harmless() {
    for container in [
        ServerContainer::builder().register::<Echo>().register::<Echo>(),
        ServerContainer::builder().register::<Echo>().discover(),
        ServerContainer::builder().discover().register::<Echo>(),
        ServerContainer::builder().discover().discover(),
    ] {
        let container = container.only(|endpoint| endpoint.name.ends_with("::Echo")).build().unwrap();
        assert_eq!(container.endpoints().count(), 1);
    }
}

#[tokio::test]
async fn explicit_constructor_takes_precedence_over_discovery() {
    let needy = |container: ContainerBuilder| container.endpoint_with(|_| Ok(bad::Needy("made")));
    let only = |container: ContainerBuilder| container.only(|endpoint| endpoint.path == "/needy");
    for container in [
        needy(ServerContainer::builder()),
        only(needy(ServerContainer::builder().discover())),
        only(needy(ServerContainer::builder()).discover()),
        only(needy(ServerContainer::builder().register::<bad::Needy>())),
    ] {
        let server = TestServer::with(container).await;
        let mut client = server.connect("/needy").await;
        client.text("?").await;
        client.expect_text("made").await;
    }
}
