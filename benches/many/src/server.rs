//! A server process of the run: one of several that listen on the same port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use endpoint_runtime::prelude::*;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::orders::{Answer, Order, incoming, reply};

/// Connections that may wait to be accepted: the maximum of most systems.
const BACKLOG: u32 = 4096;

/// The path of [`Echo`].
pub const PATH: &str = "/ws";

/// Echoes text. The driver sends to all of its sessions.
#[server_endpoint("/ws")]
#[derive(Default)]
pub struct Echo;

impl Echo {
    #[on_message]
    async fn text(&self, message: Text) -> Text {
        message
    }
}

/// The container that every run measures. All settings have their defaults, pings among them: one for each session that
/// was silent for 30 seconds.
pub fn container() -> ContainerBuilder {
    ServerContainer::builder().register::<Echo>()
}

/// Every limit that the builder has, above what the soak does.
fn limits(builder: ServerBuilder) -> ServerBuilder {
    builder
        .max_message_size(64 << 10)
        .send_budget(256 << 20)
        .receive_budget(64 << 20)
        .idle_timeout(Some(Duration::from_secs(60)))
        .ping_interval(Some(Duration::from_secs(20)))
        .pong_timeout(Some(Duration::from_secs(30)))
        .send_timeout(Duration::from_secs(10))
        .max_connections(20_000)
        .max_connections_per_address(1_000)
        .max_pending_handshakes(4_096)
        .handshake_rate_per_address(Rate::per_second(10_000))
        .max_sessions(20_000)
        .max_sessions_per_address(1_000)
        .rate(
            MessageRate::new()
                .messages(Rate::per_second(20).burst(200))
                .bytes(Rate::per_second(64 << 10).burst(1 << 20))
                .then(OverRate::Slow),
        )
}

/// The text of a broadcast.
pub fn round_text(round: u32) -> String {
    format!("round {round}")
}

/// Serves until the driver is gone.
pub fn run(addr: SocketAddr, limited: bool) -> Result<()> {
    let (sender, orders) = mpsc::unbounded_channel();
    let incoming = incoming();
    std::thread::spawn(move || incoming.into_iter().try_for_each(|order| sender.send(order)));
    // one thread for each process: there are more processes than cores
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(addr, limited, orders))
}

async fn serve(addr: SocketAddr, limited: bool, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<()> {
    // several processes listen on the port: the kernel distributes the connections
    let listener = Listener::tcp(addr).reuse_port(true).backlog(BACKLOG);
    let server = Server::with(container()).quiet().listen(listener);
    let server = if limited { limits(server) } else { server }.build().await?;
    let container = server.container().clone();
    let accepting = tokio::spawn(server.run());
    reply(&Answer::Ready)?;
    while let Some(order) = orders.recv().await {
        reply(&match order {
            Order::Sessions => Answer::Sessions(container.sessions().len()),
            Order::Broadcast(round) => {
                let report = container.sessions().async_remote().send_text(round_text(round));
                Answer::Broadcast { sent: report.sent, dropped: report.dropped }
            }
            other => Answer::Failed(format!("a server cannot do {other:?}")),
        })?;
    }
    accepting.abort();
    Ok(())
}

/// A socket that is bound and does not listen: it gets no connections, and keeps the port for those that will listen.
pub fn reserve(addr: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// HTTP/1.1 on a socket until it is upgraded.
pub async fn upgrade(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    container: ServerContainer,
) -> Result<(), hyper::Error> {
    let service = TowerToHyperService::new(container);
    // boxed, so that the task stays small once the socket has left
    Box::pin(http1::Builder::new().serve_connection(TokioIo::new(io), service).with_upgrades()).await
}
