//! What all peer servers share: `--addr`, one thread, TCP_NODELAY, one announced listener. It knows no WebSocket.

use std::future::Future;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::process;

/// The largest message every peer takes.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Runs `setup` on a current-thread runtime with the listener named by `--addr` and its address announced on stdout.
pub fn run<F, Fut>(setup: F) -> Result<()>
where
    F: FnOnce(TcpListener) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    process::die_with_parent();
    let mut args = pico_args::Arguments::from_env();
    let addr: String = args.opt_value_from_str("--addr")?.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&addr).await.with_context(|| format!("cannot listen on {addr}"))?;
        println!("listening {}", listener.local_addr()?);
        std::io::stdout().flush()?;
        setup(listener).await
    })
}

/// Accepts for ever and gives each connection its own task. A connection's end, good or bad, is its own affair.
pub async fn accept_each<F, Fut>(listener: TcpListener, serve: F) -> Result<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

/// The open sessions of `/broadcast`: each has a queue, whoever sends puts the message into all of them.
pub struct Hub<M> {
    next: AtomicU64,
    sessions: Mutex<Vec<(u64, UnboundedSender<M>)>>,
}

impl<M: Clone> Hub<M> {
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0), sessions: Mutex::new(Vec::new()) }
    }

    pub fn join(&self) -> (u64, UnboundedReceiver<M>) {
        let (sender, receiver) = unbounded_channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().push((id, sender));
        (id, receiver)
    }

    pub fn leave(&self, id: u64) {
        self.lock().retain(|(other, _)| *other != id);
    }

    /// To every open session, the sender's included.
    pub fn send(&self, message: &M) {
        for (_, session) in self.lock().iter() {
            // A session that just ended has dropped its receiver; it will leave by itself.
            let _ = session.send(message.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, UnboundedSender<M>)>> {
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<M: Clone> Default for Hub<M> {
    fn default() -> Self {
        Self::new()
    }
}
