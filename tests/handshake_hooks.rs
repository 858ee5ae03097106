//! The hooks of a whole container: for which requests they run, what they see, what they decide, and their mistakes.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, WebSocketUpgrade};
use axum::middleware::{Next, from_fn};
use axum::routing::any;
use endpoint_runtime::prelude::*;
use endpoint_runtime::test::TestServer as InMemory;
use endpoint_runtime::{
    Configurator, ContainerBuilder, Endpoint, EndpointConfig, HandshakeHook, HandshakeResponse, Identity, Principal,
};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use support::{Client, Journal, Log, TestServer, soon};
use tokio::net::TcpListener;

/// Says what the hooks gave its session.
#[server_endpoint("/chat/{room}", subprotocols("chat.v1"))]
#[derive(Default)]
struct Chat;

#[derive(Clone, Debug, PartialEq)]
struct Note(String);

impl Chat {
    #[on_message]
    fn ask(&self, question: &str, session: &Session) -> String {
        match question {
            "note?" => session.properties().get::<Note>().map_or_else(|| "none".to_owned(), |note| note.0),
            "who?" => session.principal::<User>().map_or("nobody", |user| user.0).to_owned(),
            "extensions?" => {
                let request = session.handshake_request();
                format!("{} {}", request.extensions().is_empty(), request.state::<Journal>().is_none())
            }
            other => other.to_owned(),
        }
    }
}

struct User(&'static str);

impl Principal for User {
    fn name(&self) -> &str {
        self.0
    }

    fn has_role(&self, role: &str) -> bool {
        role == "member"
    }
}

/// What a layer in front leaves in the extensions.
#[derive(Clone)]
struct Tenant(&'static str);

/// Notes each call in the journal among the states.
async fn note(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    let journal = request.state::<Journal>().expect("every container of these tests has one");
    tokio::task::yield_now().await;
    let tenant = request.extensions().get::<Tenant>().map_or("nobody", |tenant| tenant.0);
    journal.note(format!("{} {tenant} {:?}", request.path(), response.subprotocol()));
    response.headers_mut().insert("x-tenant", HeaderValue::from_static(tenant));
    response.properties().insert(Note(format!("of {tenant}")));
    Ok(())
}

struct Plain;

impl Endpoint for Plain {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        let note = session.properties().get::<Note>().map(|note| note.0);
        session.basic_remote().send_text(note.unwrap_or_default()).await
    }
}

fn builder(journal: &Journal) -> ContainerBuilder {
    ServerContainer::builder().state(journal.clone())
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

// ---- for which requests ----

#[tokio::test]
async fn hook_runs_for_every_kind_of_endpoint() {
    let journal = Journal::default();
    let container =
        builder(&journal).register::<Chat>().add_endpoint("/plain", || Plain).handshake(note).build().unwrap();
    let (adopted, by_hand) = (container.adopt::<Chat>().unwrap(), container.clone());
    let config = || EndpointConfig::new("/config", || Plain);
    let unmounted = container.adopt_config(config()).unwrap();
    let router = Router::new()
        .route(
            "/adopted/{room}",
            any(move |Path(room): Path<String>, parts: Parts, upgrade: WebSocketUpgrade| async move {
                adopted.request(parts).path_params([("room", room)]).upgrade_axum(upgrade).await
            }),
        )
        .route(
            "/socket",
            any(move |parts: Parts, upgrade: WebSocketUpgrade| async move {
                upgrade.on_upgrade(|socket| async move { drop(unmounted.request(parts).serve_axum(socket).await) })
            }),
        )
        .route(
            "/hand",
            any(move |request: Request| async move {
                let params = [("room", "x")];
                by_hand.upgrade_with(request, params, config()).await.map(axum::body::Body::new)
            }),
        )
        .fallback_service(container.clone())
        .layer(from_fn(|mut request: Request, next: Next| {
            request.extensions_mut().insert(Tenant("acme"));
            next.run(request)
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    container.add_endpoint("/later", || Plain).unwrap();
    for (path, first) in [
        ("/chat/1", None),
        ("/plain", Some("of acme")),
        ("/later", Some("of acme")),
        ("/adopted/1", None),
        ("/socket", Some("of acme")),
        ("/hand", Some("of acme")),
    ] {
        let (answer, mut client) = Client::try_connect(addr, path, &[]).await;
        assert_eq!(answer.status, 101, "{path} {answer:?}");
        // a socket that is already open has its response
        let expected = (path != "/socket").then_some("acme");
        assert_eq!(answer.header("x-tenant"), expected, "{path}");
        match first {
            Some(text) => client.expect_text(text).await,
            None => asked(&mut client, "note?", "of acme").await,
        }
        journal.expect(&format!("{path} acme None")).await;
    }
}

#[tokio::test]
async fn requests_that_fail_a_check_reach_no_hook() {
    let journal = Journal::default();
    let container = builder(&journal).register::<Chat>().handshake(note).allowed_hosts(["127.0.0.1"]);
    let server = TestServer::with(container).await;
    let host = format!("Host: {}", server.addr);
    let (answer, _) = server.request(&["GET /chat/1 HTTP/1.1", &host]).await;
    assert_eq!(answer.status, 426);
    let (answer, _) = Client::try_connect(server.addr, "/chat/1", &["Origin: https://evil.example"]).await;
    assert_eq!(answer.status, 403);
    let (answer, _) = Client::try_connect(server.addr, "/other", &[]).await;
    assert_eq!(answer.status, 404);
    assert_eq!(journal.rest(), [""; 0]);
}

// ---- what it sees, and what it decides ----

#[tokio::test]
async fn hook_sees_subprotocol_cookies_and_address_and_may_name_the_user() {
    async fn login(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        let journal = request.state::<Journal>().unwrap();
        journal.note(format!("{:?} {}", response.subprotocol(), request.peer_addr().is_some()));
        match request.cookie("login") {
            Some("ann") => response.set_principal(User("ann")),
            _ => return Err(Refusal::unauthenticated()),
        }
        Ok(())
    }
    let journal = Journal::default();
    let server = TestServer::with(builder(&journal).register::<Chat>().handshake(login)).await;
    let headers = ["Sec-WebSocket-Protocol: other, chat.v1", "Cookie: a=b; login=ann"];
    let mut client = Client::connect_with(server.addr, "/chat/1", &headers).await;
    asked(&mut client, "who?", "ann").await;
    asked(&mut client, "extensions?", "true true").await;
    journal.expect(r#"Some("chat.v1") true"#).await;
    let (answer, _) = Client::try_connect(server.addr, "/chat/1", &["Cookie: login=ben"]).await;
    assert_eq!(answer.status, 401);
}

#[server_endpoint("/members", roles("member"))]
#[derive(Default)]
struct Members;

#[tokio::test]
async fn principal_of_a_hook_counts_for_the_roles() {
    async fn known(_: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        response.set_principal(User("ann"));
        Ok(())
    }
    let without = InMemory::new(ServerContainer::builder().register::<Members>().build().unwrap());
    without.request("/members").expect_refusal(401).await;
    let with = InMemory::new(ServerContainer::builder().register::<Members>().handshake(known).build().unwrap());
    with.connect("/members").await;
}

/// A hook with a value of its own.
struct Named(&'static str, Option<u16>);

impl HandshakeHook for Named {
    async fn handshake(&self, request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        request.state::<Journal>().unwrap().note(self.0);
        response.headers_mut().append("x-hook", HeaderValue::from_static(self.0));
        match self.1 {
            Some(status) => Err(Refusal::new(StatusCode::from_u16(status).unwrap())),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct Last;

impl Configurator<Chat> for Last {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        let tenant = request.extensions().get::<Tenant>().map_or("nobody", |tenant| tenant.0);
        request.state::<Journal>().unwrap().note(format!("configurator for {tenant}"));
        response.headers_mut().append("x-hook", HeaderValue::from_static("last"));
        Ok(())
    }
}

#[tokio::test]
async fn several_hooks_run_in_order_and_before_the_configurator() {
    let journal = Journal::default();
    let container = builder(&journal).handshake(Named("one", None)).endpoint_with_configurator::<Chat>(Last);
    let container = container.handshake(Named("two", None)).build().unwrap();
    let server = InMemory::new(container);
    let client = server.request("/chat/1").extension(Tenant("acme")).connect().await;
    let added: Vec<_> = client.response().headers().get_all("x-hook").iter().collect();
    assert_eq!(added, ["one", "two", "last"]);
    assert_eq!(journal.rest(), ["one", "two", "configurator for acme"]);
}

#[tokio::test]
async fn first_refusal_is_the_answer_and_nothing_else_runs() {
    let journal = Journal::default();
    let container = builder(&journal).handshake(Named("one", None)).handshake(Named("two", Some(451)));
    let container = container.handshake(Named("three", None)).endpoint_with_configurator::<Chat>(Last).build();
    let server = InMemory::new(container.unwrap());
    server.request("/chat/1").expect_refusal(451).await;
    assert_eq!(journal.rest(), ["one", "two"]);
    assert!(server.container().sessions().is_empty());
}

#[tokio::test]
async fn async_closure_is_a_hook() {
    let hook = async |request: &HandshakeRequest, response: &mut HandshakeResponse| -> Result<(), Refusal> {
        tokio::task::yield_now().await;
        response.properties().insert(Note(request.path().to_owned()));
        Ok(())
    };
    let server = InMemory::new(ServerContainer::builder().register::<Chat>().handshake(hook).build().unwrap());
    let mut client = server.connect("/chat/7").await;
    client.send_text("note?").await;
    client.expect_text("/chat/7").await;
}

// ---- constructors ----

#[server_endpoint("/made")]
struct Made(String);

impl Made {
    #[on_message]
    fn ask(&self, _: &str) -> String {
        self.0.clone()
    }
}

#[tokio::test]
async fn constructor_sees_extensions_and_states() {
    let container = ServerContainer::builder().state(Note("shared".to_owned())).endpoint_with::<Made>(|request| {
        let note = request.state::<Note>().ok_or_else(|| Refusal::new(StatusCode::CONFLICT))?;
        let tenant = request.extensions().get::<Tenant>().ok_or_else(|| Refusal::new(StatusCode::PAYMENT_REQUIRED))?;
        Ok(Made(format!("{} {}", note.0, tenant.0)))
    });
    let server = InMemory::new(container.build().unwrap());
    let mut client = server.request("/made").extension(Tenant("acme")).connect().await;
    client.send_text("?").await;
    client.expect_text("shared acme").await;
    server.request("/made").expect_refusal(402).await;
}

#[tokio::test]
async fn identity_of_a_layer_stays_among_the_extensions() {
    async fn needs_identity(request: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
        request.extensions().get::<Identity>().map(drop).ok_or_else(Refusal::unauthenticated)
    }
    let container = ServerContainer::builder().register::<Chat>().handshake(needs_identity).build().unwrap();
    let server = InMemory::new(container);
    server.request("/chat/1").expect_refusal(401).await;
    let mut client = server.request("/chat/1").extension(Identity::new(User("ann"))).connect().await;
    client.send_text("who?").await;
    client.expect_text("ann").await;
}

#[tokio::test]
async fn extensions_are_dropped_when_the_session_opens() {
    #[derive(Clone)]
    struct Kept(#[allow(dead_code)] Arc<()>);
    let (kept, journal) = (Arc::new(()), Journal::default());
    let server = InMemory::new(builder(&journal).register::<Chat>().handshake(note).build().unwrap());
    let request = server.request("/chat/1").extension(Kept(kept.clone()));
    let mut client = request.connect().await;
    client.send_text("extensions?").await;
    client.expect_text("true true").await;
    // the test kit's own request has one
    server.settled().await;
    assert!(Arc::strong_count(&kept) <= 2, "{}", Arc::strong_count(&kept));
}

// ---- mistakes ----

#[tokio::test]
async fn panic_and_reserved_header_are_500_and_logged() {
    async fn panics(_: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
        tokio::task::yield_now().await;
        panic!("boom")
    }
    async fn reserved(_: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        response.headers_mut().insert("upgrade", HeaderValue::from_static("h2c"));
        Ok(())
    }
    struct Early;
    impl HandshakeHook for Early {
        fn handshake(
            &self,
            _: &HandshakeRequest,
            _: &mut HandshakeResponse,
        ) -> impl Future<Output = Result<(), Refusal>> + Send {
            if true {
                panic!("early");
            }
            std::future::ready(Ok(()))
        }
    }
    let chat = || ServerContainer::builder().register::<Chat>();
    for (container, logged) in [
        (chat().handshake(panics), "boom"),
        (chat().handshake(Early), "early"),
        (chat().handshake(reserved), "\"upgrade\""),
    ] {
        let (server, log) = (TestServer::with(container).await, Log::capture());
        for _ in 0..2 {
            let (answer, _) = Client::try_connect(server.addr, "/chat/1", &[]).await;
            assert_eq!((answer.status, answer.body.contains(logged)), (500, false));
        }
        let lines = log.lines("a handshake hook failed");
        assert!(lines.len() == 2 && lines[0].contains(logged), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_and_configurator_together_have_the_handshake_timeout() {
    struct Slow;
    impl HandshakeHook for Slow {
        async fn handshake(&self, _: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(())
        }
    }
    for (count, timely) in [(2, true), (3, false)] {
        let mut container = ServerContainer::builder().register::<Chat>().handshake_timeout(Duration::from_secs(10));
        for _ in 0..count {
            container = container.handshake(Slow);
        }
        let opened = InMemory::new(container.build().unwrap()).request("/chat/1").try_connect().await;
        assert_eq!(
            opened.map(drop).map_err(|refusal| refusal.status().as_u16()),
            if timely { Ok(()) } else { Err(503) }
        );
    }
}

#[tokio::test]
async fn hook_is_dropped_when_the_client_goes_away() {
    struct Waits(Arc<AtomicUsize>, Arc<Mutex<Option<tokio::sync::oneshot::Sender<()>>>>);
    struct Counts(Arc<AtomicUsize>, Arc<tokio::sync::Notify>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.notify_one();
        }
    }
    impl HandshakeHook for Waits {
        async fn handshake(&self, request: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
            let gone = request.state::<Arc<tokio::sync::Notify>>().unwrap();
            let _counts = Counts(self.0.clone(), Arc::clone(gone));
            let begun = self.1.lock().unwrap().take();
            let _ = begun.map(|begun| begun.send(()));
            std::future::pending().await
        }
    }
    let (dropped, (begins, begun)) = (Arc::new(AtomicUsize::new(0)), tokio::sync::oneshot::channel());
    let gone = Arc::new(tokio::sync::Notify::new());
    let hook = Waits(dropped.clone(), Arc::new(Mutex::new(Some(begins))));
    let container = ServerContainer::builder().register::<Chat>().state(gone.clone()).handshake(hook);
    let server = TestServer::with(container).await;
    let addr = server.addr;
    let client = tokio::spawn(async move { Client::try_connect(addr, "/chat/1", &[]).await });
    soon(begun).await.unwrap();
    client.abort();
    soon(gone.notified()).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(server.container.sessions().is_empty());
}
