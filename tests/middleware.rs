//! Middleware in front of a container: a layer that sets the principal, a router that strips a prefix, and state that
//! pages and endpoints share.

mod support;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, HandshakeResponse, Identity, Principal};
use support::Client;
use tokio::net::TcpListener;

/// By the cookie `login=name role role`.
struct User {
    name: String,
    roles: Vec<String>,
}

impl User {
    fn parse(cookie: &str) -> Option<Self> {
        let mut words = cookie.strip_prefix("login=")?.split(' ').map(str::to_owned);
        Some(Self { name: words.next()?, roles: words.collect() })
    }
}

impl Principal for User {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

fn who(session: &Session) -> String {
    session.principal::<User>().map_or("nobody".to_owned(), |user| user.name.clone())
}

#[server_endpoint("/anybody")]
#[derive(Default)]
struct Anybody;

impl Anybody {
    #[on_message]
    fn ask(&self, _: &str, session: &Session, visits: State<Arc<AtomicUsize>>) -> String {
        let visits = visits.fetch_add(1, Ordering::Relaxed);
        format!("{} at {} after {visits}", who(session), session.handshake_request().path())
    }
}

#[server_endpoint("/staff", roles("admin"))]
#[derive(Default)]
struct Staff;

impl Staff {
    #[on_message]
    fn ask(&self, _: &str, session: &Session) -> String {
        who(session)
    }
}

/// Keeps whoever was named in front, unless the query names another.
#[server_endpoint("/renamed", configurator = Renaming, roles("admin"))]
#[derive(Default)]
struct Renamed;

impl Renamed {
    #[on_message]
    fn ask(&self, _: &str, session: &Session) -> String {
        who(session)
    }
}

#[derive(Default)]
struct Renaming;

impl Configurator<Renamed> for Renaming {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        if let Some(name) = request.query_param("as") {
            response.set_principal(User { name: name.into_owned(), roles: vec!["admin".to_owned()] });
        }
        Ok(())
    }
}

/// Who brings a cookie is named to the container; a wrong one is turned away before it.
async fn read_cookie(mut request: Request, next: Next) -> Response {
    if let Some(cookie) = request.headers().get("cookie") {
        match cookie.to_str().ok().and_then(User::parse) {
            Some(user) => drop(request.extensions_mut().insert(Identity::new(user))),
            None => return StatusCode::FORBIDDEN.into_response(),
        }
    }
    next.run(request).await
}

/// An application below `/api`, with the container as the fallback of the nested router.
async fn app() -> (SocketAddr, ServerContainer) {
    let visits = Arc::new(AtomicUsize::new(0));
    let container = ServerContainer::builder()
        .register::<Anybody>()
        .register::<Staff>()
        .register::<Renamed>()
        .state(visits.clone())
        .build()
        .unwrap();
    let page = |Shared(visits): Shared<Arc<AtomicUsize>>| async move { visits.load(Ordering::Relaxed).to_string() };
    let api = Router::new().route("/visits", get(page)).with_state(visits).fallback_service(container.clone());
    let app = Router::new().nest("/api", api).layer(from_fn(read_cookie));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    (addr, container)
}

async fn asked(addr: SocketAddr, path: &str, headers: &[&str]) -> String {
    let mut client = Client::connect_with(addr, path, headers).await;
    client.text("?").await;
    String::from_utf8(client.expect(support::TEXT).await).unwrap()
}

async fn status(addr: SocketAddr, path: &str, headers: &[&str]) -> u16 {
    Client::try_connect(addr, path, headers).await.0.status
}

#[tokio::test]
async fn middleware_sets_the_principal() {
    let (addr, container) = app().await;
    let mut client = Client::connect_with(addr, "/api/anybody", &["Cookie: login=ann admin"]).await;
    client.text("?").await;
    client.expect_text("ann at /anybody after 0").await;
    assert_eq!(container.principal("ann").len(), 1);
    assert_eq!(asked(addr, "/api/anybody", &[]).await, "nobody at /anybody after 1");
}

#[tokio::test]
async fn middleware_refuses_before_the_container() {
    let (addr, container) = app().await;
    assert_eq!(status(addr, "/api/anybody", &["Cookie: login"]).await, 403);
    assert!(container.sessions().is_empty());
}

#[tokio::test]
async fn roles_come_from_the_middlewares_principal() {
    let (addr, _container) = app().await;
    assert_eq!(asked(addr, "/api/staff", &["Cookie: login=ann ops admin"]).await, "ann");
    assert_eq!(status(addr, "/api/staff", &["Cookie: login=ben ops"]).await, 403);
    assert_eq!(status(addr, "/api/staff", &[]).await, 401);
}

#[tokio::test]
async fn configurator_sees_the_middlewares_principal_and_may_replace_it() {
    let (addr, _container) = app().await;
    assert_eq!(asked(addr, "/api/renamed", &["Cookie: login=ann admin"]).await, "ann");
    assert_eq!(asked(addr, "/api/renamed?as=root", &["Cookie: login=ann"]).await, "root");
    assert_eq!(status(addr, "/api/renamed", &["Cookie: login=ann"]).await, 403);
}

#[tokio::test]
async fn pages_and_endpoints_of_a_nested_router_share_a_state() {
    let (addr, _container) = app().await;
    for visits in 0..3 {
        assert_eq!(asked(addr, "/api/anybody", &[]).await, format!("nobody at /anybody after {visits}"));
    }
    let host = format!("Host: {addr}");
    let (answer, _) = Client::request(addr, &["GET /api/visits HTTP/1.1", &host], b"").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "3"));
    // the prefix belongs to the path
    assert_eq!(status(addr, "/anybody", &[]).await, 404);
}
