//! A small axum application: a page, a JSON API, a login by cookie, and an endpoint for users who are logged in. A layer
//! in front reads the cookie and names the user to the handlers and to the endpoint. Every window shows the same list of
//! things to do at any time; the first user to log in may clear it.
//!
//! `cargo run --release -p examples --example axum_app` and open the printed address in two windows.

#[path = "../shared/mod.rs"]
mod shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{AppendHeaders, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use endpoint_runtime::prelude::*;
use endpoint_runtime::{Identity, OpenSessions, Principal};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use shared::Lang;

/// The state that pages and endpoints share.
#[derive(Default)]
struct App {
    /// Users, by the value of their cookie.
    logins: Mutex<HashMap<String, User>>,
    items: Mutex<Vec<Item>>,
}

/// A user who is logged in.
#[derive(Clone, Serialize)]
struct User {
    name: String,
    roles: &'static [&'static str],
}

impl Principal for User {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_role(&self, role: &str) -> bool {
        self.roles.contains(&role)
    }
}

/// The roles of the first user to log in, and of everybody else.
const ROLES: [&[&str]; 2] = [&["admin", "user"], &["user"]];

#[derive(Clone, Serialize)]
struct Item {
    what: String,
    by: String,
    done: bool,
}

/// The list as every window shows it.
#[derive(Serialize)]
struct List {
    items: Vec<Item>,
    windows: usize,
}

const MOST_LOGINS: usize = 10_000;
const MOST_ITEMS: usize = 100;

impl App {
    /// The user whose cookie the request has.
    fn who(&self, headers: &HeaderMap) -> Option<User> {
        let cookies = headers.get(COOKIE)?.to_str().ok()?;
        let value = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("login="))?;
        lock(&self.logins).get(value).cloned()
    }

    fn tell(&self, sessions: &OpenSessions) -> Result<(), Error> {
        let list = List { items: lock(&self.items).clone(), windows: sessions.len() };
        sessions.async_remote().send_object(&Json(list)).map(drop)
    }
}

/// The layer in front: names the user to the container and to the handlers of axum.
async fn read_cookie(Shared(app): Shared<Arc<App>>, mut request: Request, next: Next) -> Response {
    if let Some(user) = app.who(request.headers()) {
        request.extensions_mut().insert(Identity::new(user.clone()));
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// Sends every change to its window, and receives which item was ticked.
#[server_endpoint("/live", max_message_size = "1KiB", roles("user"))]
#[derive(Default)]
struct Live;

impl Live {
    #[on_open]
    fn open(&self, session: &Session, app: State<Arc<App>>) -> Result<(), Error> {
        let user = session.principal::<User>();
        tracing::info!(name = user.map(|user| user.name.clone()), "has opened a window");
        app.tell(&session.open_sessions())
    }

    #[on_message]
    fn tick(&self, index: usize, session: &Session, app: State<Arc<App>>) -> Result<(), Error> {
        if let Some(item) = lock(&app.items).get_mut(index) {
            item.done = !item.done;
        }
        app.tell(&session.open_sessions())
    }

    #[on_close]
    fn close(&self, session: &Session, app: State<Arc<App>>) -> Result<(), Error> {
        app.tell(&session.open_sessions())
    }
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

type Cookie = AppendHeaders<[(HeaderName, String); 1]>;

/// `POST /api/login`: any name is accepted.
async fn login(Shared((app, _)): Shared<Context>, login: axum::Json<Login>) -> Result<Cookie, StatusCode> {
    let mut logins = lock(&app.logins);
    if login.name.trim().is_empty() || login.name.len() > 100 || logins.len() >= MOST_LOGINS {
        return Err(StatusCode::BAD_REQUEST);
    }
    let value = format!("{:032x}", rand::random::<u128>());
    let roles = ROLES[usize::from(!logins.is_empty())];
    logins.insert(value.clone(), User { name: login.0.name, roles });
    Ok(AppendHeaders([(SET_COOKIE, format!("login={value}; Path=/; HttpOnly; SameSite=Strict"))]))
}

/// `GET /api/me`
async fn me(user: Option<Extension<User>>) -> Result<axum::Json<User>, StatusCode> {
    user.map(|Extension(user)| axum::Json(user)).ok_or(StatusCode::UNAUTHORIZED)
}

/// `GET /api/items`
async fn items(Shared((app, _)): Shared<Context>) -> axum::Json<Vec<Item>> {
    axum::Json(lock(&app.items).clone())
}

#[derive(Deserialize)]
struct Add {
    what: String,
}

/// `POST /api/items`: every window receives the new list.
async fn add(
    Shared((app, container)): Shared<Context>,
    user: Option<Extension<User>>,
    add: axum::Json<Add>,
) -> Result<StatusCode, StatusCode> {
    let by = user.ok_or(StatusCode::UNAUTHORIZED)?.0.name;
    if add.what.trim().is_empty() || add.what.len() > 1000 || lock(&app.items).len() >= MOST_ITEMS {
        return Err(StatusCode::BAD_REQUEST);
    }
    lock(&app.items).push(Item { what: add.0.what, by, done: false });
    app.tell(&container.sessions()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(StatusCode::CREATED)
}

/// `DELETE /api/items`: an admin removes the items that are done.
async fn clear(
    Shared((app, container)): Shared<Context>,
    user: Option<Extension<User>>,
) -> Result<StatusCode, StatusCode> {
    let Extension(user) = user.ok_or(StatusCode::UNAUTHORIZED)?;
    if !user.has_role("admin") {
        return Err(StatusCode::FORBIDDEN);
    }
    lock(&app.items).retain(|item| !item.done);
    app.tell(&container.sessions()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(StatusCode::NO_CONTENT)
}

type Context = (Arc<App>, ServerContainer);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("axum_app", "127.0.0.1:8080", &mut []);
    let app = Arc::new(App::default());
    let container = ServerContainer::builder().register::<Live>().state(app.clone()).build()?;
    // the container is in a nested router, which removes /api from the paths
    let api = Router::new()
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/items", get(items).post(add).delete(clear))
        .with_state((app.clone(), container.clone()))
        .fallback_service(container.clone())
        .layer(from_fn_with_state(app, read_cookie));
    let app = shared::pages(include_str!("page.html"), lang).nest("/api", api);

    let listener = tokio::net::TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/api/live");
    let stop = shared::stop_signal();
    let shutdown = async move {
        stop.await;
        // axum does not wait for connections that were upgraded: the container closes them
        let shutdown = container.shutdown(Duration::from_secs(10)).await;
        match lang {
            Lang::English => println!("{} connections closed, {} cut", shutdown.closed, shutdown.cut),
            Lang::Chinese => println!("{} 个连接已关闭，{} 个被切断", shutdown.closed, shutdown.cut),
        }
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(shutdown).await?)
}
