//! The accept loops: one for each listener, or several, each with a socket of its own.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, yield_now};

use super::http::{Http, Via};
use crate::observe::log_rate::LogRate;
use crate::transport::accepted::Acceptor;
use crate::transport::bound::Bound;

/// Maximum average time between two accepted connections, however long other tasks run in between.
const ACCEPT_INTERVAL: Duration = Duration::from_micros(200);

/// Maximum number of additional connections accepted without a yield.
const ACCEPT_MORE: u128 = 15;

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
                // tracked: a shutdown waits until the socket is closed
                tasks.spawn(http.tasks.track_future(accepting));
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
