//! The accept loops: one for each listener, or several, each with a socket of its own.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, yield_now};

use super::http::Http;
use crate::observe::log_rate::LogRate;
use crate::transport::accepted::Acceptor;
use crate::transport::listener::Bound;

/// Maximum average time between two accepted connections, however long other tasks run in between.
const ACCEPT_INTERVAL: Duration = Duration::from_micros(200);

/// Maximum number of additional connections accepted without a yield.
const ACCEPT_MORE: u128 = 15;

/// What is known of all connections of one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Via {
    /// The local address of each connection; `None` if the listener is bound to every address of the machine.
    pub(super) local_addr: Option<SocketAddr>,
    /// Whether the listener is a TCP address reachable only from this machine. A Unix socket is not: what comes by it is
    /// from a proxy, because no browser can connect to it.
    pub(super) is_local: bool,
}

impl Via {
    fn of(acceptor: &Acceptor) -> Self {
        let addr = acceptor.tcp_addr();
        Self {
            local_addr: addr.filter(|addr| !addr.ip().is_unspecified()),
            is_local: addr.is_some_and(|addr| addr.ip().to_canonical().is_loopback()),
        }
    }
}

/// Accepts connections of all listeners until it is dropped, which closes them.
///
/// The loops of a listener that has several run in tasks of their own, on all workers.
pub(super) async fn accept_all(listeners: Vec<Bound>, http: Arc<Http>) {
    // aborts its tasks on drop
    let mut tasks = JoinSet::new();
    let mut loops: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
    // the files of Unix sockets: dropped first, so that nobody replaces them while they are checked
    let mut files = Vec::new();
    for mut bound in listeners {
        let acceptors = std::mem::take(&mut bound.acceptors);
        files.push(bound);
        let is_single = acceptors.len() == 1;
        for acceptor in acceptors {
            let accepting = accept(acceptor, http.clone());
            if is_single {
                loops.push(Box::pin(accepting));
            } else {
                tasks.spawn(accepting);
            }
        }
    }
    poll_fn(|cx| {
        for accepting in &mut loops {
            // it never ends
            let _ = accepting.as_mut().poll(cx);
        }
        Poll::<()>::Pending
    })
    .await;
}

async fn accept(acceptor: Acceptor, http: Arc<Http>) {
    let via = Via::of(&acceptor);
    let failures = LogRate::<1>::default();
    let mut more = 0;
    loop {
        match acceptor.accept().await {
            Ok((stream, peer)) => {
                http.serve(stream, peer, via);
                if more > 0 {
                    more -= 1;
                    continue;
                }
                // open connections run before a burst of new ones; if they take long, several of the burst are
                // accepted in the next round
                let started = Instant::now();
                yield_now().await;
                more = (started.elapsed().as_micros() / ACCEPT_INTERVAL.as_micros()).min(ACCEPT_MORE);
            }
            // the client closed the connection before it was accepted
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                // most likely out of file descriptors: wait until some are closed
                if let Some(not_logged) = failures.due() {
                    tracing::warn!(%error, not_logged, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
