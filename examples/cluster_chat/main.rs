//! The chat on several nodes: a line reaches every member of its room, whatever node each is connected to, and each page
//! shows who is in the room on all of them.
//!
//! `bash examples/cluster_chat/start.sh` starts an engine, three nodes and a proxy; README.md has the single commands.

#[path = "../shared/mod.rs"]
mod shared;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::routing::get;
use endpoint_nats::Nats;
use endpoint_redis::Redis;
use endpoint_runtime::cluster::{Cluster, HealthStatus, NodeId};
use endpoint_runtime::prelude::*;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::SetOnce;

/// Longest name of a user, in characters.
const LONGEST_NAME: usize = 64;

/// How often a node compares its health with what the pages show.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// This node, as handlers and pages see it.
struct Node {
    name: String,
    /// Set when the port is bound, which is before the first request.
    container: SetOnce<ServerContainer>,
}

/// A user, who has no more than a name. A real application would ask for a login here.
struct Guest(String);

impl Principal for Guest {
    fn name(&self) -> &str {
        &self.0
    }
}

/// Names the user of every session: `?name=ann`.
async fn welcome(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    let name = request.query_param("name").unwrap_or_default();
    if name.trim().is_empty() || name.chars().count() > LONGEST_NAME {
        let body = format!("say who you are, in 1 to {LONGEST_NAME} characters, such as ?name=ann\n");
        return Err(Refusal::new(StatusCode::BAD_REQUEST).with_body(body));
    }
    response.set_principal(Guest(name.into_owned()));
    Ok(())
}

/// A line as every member of the room receives it.
#[derive(Serialize)]
struct Line<'a> {
    from: &'a str,
    line: &'a str,
    /// The node of the user who wrote it.
    node: &'a str,
}

/// Sends a line to the room on all nodes. What the engine does not take is in the counts of [`health`].
fn say(line: &str, session: &Session, node: &Node, room: &str) -> Result<(), Error> {
    let guest = session.principal::<Guest>().expect("every session passes `welcome`");
    let line = Line { from: guest.name(), line, node: &node.name };
    session.room(room).async_remote().send_object(&Json(line)).map(drop)
}

/// The chat for programs: lines, and nothing else.
#[server_endpoint("/chat/{room}", max_message_size = "4KiB", presence(grace = "5s"))]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    fn enter(&self, session: &Session, #[path_param] room: &str) {
        session.join(room);
    }

    #[on_message]
    fn say(
        &self,
        line: &str,
        session: &Session,
        node: State<Arc<Node>>,
        #[path_param] room: &str,
    ) -> Result<(), Error> {
        say(line, session, &node, room)
    }
}

/// The chat for the page: lines, who is present, and how this node is doing. Its users meet those of [`Chat`], because a
/// room belongs to no endpoint.
#[server_endpoint("/window/{room}", max_message_size = "4KiB", presence(grace = "5s"))]
#[derive(Default)]
struct Window;

impl Window {
    #[on_open]
    fn enter(&self, session: &Session, node: State<Arc<Node>>, #[path_param] room: &str) {
        session.join(room);
        let (window, node) = (session.clone(), node.clone());
        // ends with the session
        session.spawn(async move {
            let container = node.container.wait().await;
            let (mut shown, mut looks) = (Value::Null, tokio::time::interval(LOOK_EVERY));
            loop {
                looks.tick().await;
                let health = health(&node.name, container);
                if health != shown {
                    window.async_remote().send_text(health.to_string());
                    shown = health;
                }
            }
        });
    }

    #[on_message]
    fn say(
        &self,
        line: &str,
        session: &Session,
        node: State<Arc<Node>>,
        #[path_param] room: &str,
    ) -> Result<(), Error> {
        say(line, session, &node, room)
    }

    /// The first change lists everyone who is present, the later ones who has come and gone.
    #[on_presence]
    fn changed(&self, change: Presence) -> Json<Presence> {
        Json(change)
    }
}

/// How this node is doing.
fn health(node: &str, container: &ServerContainer) -> Value {
    let health = container.health();
    let cluster = health.cluster.as_ref();
    let counts = cluster.map(|cluster| cluster.counts).unwrap_or_default();
    json!({
        "node": node,
        "status": if health.status == HealthStatus::Healthy { "healthy" } else { "degraded" },
        "engine": cluster.map(|cluster| cluster.engine),
        "connected": cluster.is_some_and(|cluster| cluster.is_connected),
        "error": cluster.and_then(|cluster| cluster.last_error.as_deref()),
        "peers": peers(container).into_iter().map(|(_, name)| name).collect::<Vec<_>>(),
        "counts": {
            "published": counts.published,
            "received": counts.received,
            "lost": counts.lost,
            "duplicates": counts.duplicates,
            "refused": counts.refused,
            "unsure": counts.unsure,
            "reconnects": counts.reconnects,
            "deaths": counts.deaths,
        },
    })
}

/// `GET /health`: 200 also while the engine is away, because this node serves its users then.
async fn get_health(Shared(node): Shared<Arc<Node>>) -> axum::Json<Value> {
    axum::Json(health(&node.name, node.container.wait().await))
}

/// `GET /presence/{room}`: who is in the room on all nodes, and the nodes that did not answer.
async fn get_presence(Shared(node): Shared<Arc<Node>>, Path(room): Path<String>) -> axum::Json<Value> {
    let container = node.container.wait().await;
    // asked first: a node that dies meanwhile is missing, and not a peer any more
    let peers = peers(container);
    let present = container.room(&room).present::<()>().await;
    let names: Vec<_> = present.users.iter().map(|user| &*user.name).collect();
    let name_of =
        |id: &NodeId| peers.iter().find(|(peer, _)| peer == id).map_or(id.to_string(), |(_, name)| name.clone());
    axum::Json(json!({ "names": names, "missing": present.missing.iter().map(name_of).collect::<Vec<_>>() }))
}

/// The other live nodes, sorted by name.
fn peers(container: &ServerContainer) -> Vec<(NodeId, String)> {
    let peers = container.health().cluster.map(|cluster| cluster.peers).unwrap_or_default();
    // a node that has just been heard for the first time has no name yet
    let name_of = |id: NodeId, name: Arc<str>| if name.is_empty() { id.to_string() } else { name.to_string() };
    let mut named: Vec<_> = peers.into_iter().map(|(id, name)| (id, name_of(id, name))).collect();
    named.sort_by(|one, other| one.1.cmp(&other.1));
    named
}

/// The cluster of this node; `None` for a single node.
async fn cluster(
    redis: Option<String>,
    nats: Option<String>,
    key: Option<String>,
) -> Result<Option<Cluster>, Box<dyn std::error::Error>> {
    let cluster = match (redis, nats) {
        (Some(url), None) => Cluster::on(Redis::connect(&url).await?),
        (None, Some(url)) => Cluster::on(Nats::connect(&url).await?),
        (Some(_), Some(_)) => return Err("a node has one engine: give --redis or --nats, not both".into()),
        (None, None) if key.is_some() => return Err("--key is for a cluster: give --redis or --nats, too".into()),
        (None, None) => return Ok(None),
    };
    Ok(Some(match key {
        Some(secret) => cluster.key(secret),
        None => cluster,
    }))
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut name, mut redis, mut nats, mut key) = (None, None, None, None);
    let (addr, lang) = shared::arguments(
        "cluster_chat",
        "127.0.0.1:8081",
        &mut [
            ("--node NAME", &mut name),
            ("--redis URL", &mut redis),
            ("--nats URL", &mut nats),
            ("--key SECRET", &mut key),
        ],
    );
    let name = name.unwrap_or_else(|| format!("node-{:04x}", rand::random::<u16>()));
    let cluster = cluster(redis, nats, key).await?;
    let node = Arc::new(Node { name: name.clone(), container: SetOnce::new() });
    let pages = shared::pages(include_str!("page.html"), lang).merge(
        axum::Router::new()
            .route("/health", get(get_health))
            .route("/presence/{room}", get(get_presence))
            .with_state(node.clone()),
    );
    let mut server = Server::builder().handshake(welcome).state(node.clone()).fallback(pages);
    if let Some(cluster) = cluster {
        server = server.cluster(cluster.node(name));
    }
    let server = server.bind(addr).await?;
    node.container.set(server.container().clone())?;
    let addr = server.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/chat/lobby?name=ann");
    server.run_until(shared::stop_signal()).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster_chat: {error}");
            ExitCode::FAILURE
        }
    }
}
