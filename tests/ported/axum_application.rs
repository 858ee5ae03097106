//! An axum application with its own `WebSocketUpgrade` handler and a middleware that authenticates, moved over in place:
//! the route, the extractors and the middleware stay, the loop over the socket becomes an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Request, State as AxumState};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use endpoint_runtime::prelude::*;
use http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::support::Client;

/// What the middleware puts into the request.
#[derive(Clone)]
struct CurrentUser {
    name: String,
    is_admin: bool,
}

impl Principal for CurrentUser {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_role(&self, role: &str) -> bool {
        role == "admin" && self.is_admin
    }
}

/// As before: a cookie becomes a user, or 401.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let cookie = request.headers().get("cookie").and_then(|value| value.to_str().ok());
    let name = cookie.and_then(|cookie| cookie.strip_prefix("user=")).ok_or(StatusCode::UNAUTHORIZED)?.to_owned();
    let user = CurrentUser { is_admin: name == "root", name };
    request.extensions_mut().insert(Identity::new(user.clone()));
    request.extensions_mut().insert(user);
    Ok(next.run(request).await)
}

#[derive(Default)]
struct Counters {
    said: AtomicU64,
}

#[derive(Deserialize)]
struct Say {
    line: String,
}

#[derive(Serialize)]
struct Said<'a> {
    from: &'a str,
    line: &'a str,
    number: u64,
}

/// Was: `async fn handle_socket(mut socket: WebSocket, room: String, user: CurrentUser, app: Arc<App>)`.
#[server_endpoint("/rooms/{room}")]
struct Room {
    user: CurrentUser,
}

impl Room {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: &str) {
        session.join(room);
    }

    #[on_message]
    fn say(
        &mut self,
        Json(say): Json<Say>,
        session: &Session,
        #[path_param] room: &str,
        counters: &State<Arc<Counters>>,
    ) -> Result<(), Error> {
        let number = counters.said.fetch_add(1, Ordering::Relaxed);
        let said = Said { from: &self.user.name, line: &say.line, number };
        session.room(room).async_remote().send_object(&Json(said)).map(drop)
    }
}

#[derive(Clone)]
struct App {
    container: ServerContainer,
    counters: Arc<Counters>,
}

/// The route's handler keeps its extractors.
async fn room(
    AxumState(app): AxumState<App>,
    Path(room): Path<String>,
    parts: Parts,
    upgrade: WebSocketUpgrade,
) -> Response {
    match app.container.adopt::<Room>() {
        Ok(endpoint) => endpoint.request(parts).path_params([("room", room)]).upgrade_axum(upgrade).await,
        Err(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR).with_body(error.to_string()).into(),
    }
}

async fn said(AxumState(app): AxumState<App>) -> String {
    app.counters.said.load(Ordering::Relaxed).to_string()
}

fn app() -> Router {
    let counters = Arc::new(Counters::default());
    let container = ServerContainer::builder()
        .state(counters.clone())
        .endpoint_with(|request| match request.extensions().get::<CurrentUser>() {
            Some(user) => Ok(Room { user: user.clone() }),
            None => Err(Refusal::unauthenticated()),
        })
        .build()
        .unwrap();
    Router::new()
        .route("/api/rooms/{room}", get(room))
        .route("/api/said", get(said))
        .layer(middleware::from_fn(authenticate))
        .with_state(App { container, counters })
}

async fn serve() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = app().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    addr
}

#[tokio::test]
async fn route_and_middleware_stay() {
    let addr = serve().await;
    let mut ann = Client::connect_with(addr, "/api/rooms/blue", &["Cookie: user=ann"]).await;
    let mut ben = Client::connect_with(addr, "/api/rooms/blue", &["Cookie: user=ben"]).await;
    ann.text(r#"{"line":"one"}"#).await;
    ann.expect_text(r#"{"from":"ann","line":"one","number":0}"#).await;
    ben.text(r#"{"line":"two"}"#).await;
    ann.expect_text(r#"{"from":"ben","line":"two","number":1}"#).await;
    // refused by the middleware, and by the endpoint's own checks, each with a status
    let (answer, _) = Client::try_connect(addr, "/api/rooms/blue", &[]).await;
    assert_eq!(answer.status, 401);
    let foreign = ["Cookie: user=eve", "Origin: https://evil.example"];
    let (answer, _) = Client::try_connect(addr, "/api/rooms/blue", &foreign).await;
    assert_eq!(answer.status, 403);
    let (answer, _) = Client::request(addr, &["GET /api/said HTTP/1.1", "Host: x", "Cookie: user=ann"], b"").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "2"));
}
