//! A wire between two programs, through which TCP passes until a test cuts, slows or closes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A listener whose connections lead to another address. Dropping it closes everything.
pub struct Wire {
    addr: SocketAddr,
    state: Arc<watch::Sender<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy)]
struct State {
    is_cut: bool,
    delay: Duration,
    /// Grows whenever all connections are closed.
    closed: u64,
}

impl Wire {
    /// A wire to this address.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State { is_cut: false, delay: Duration::ZERO, closed: 0 }));
        let states = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let state = states.subscribe();
                tokio::spawn(connect(near, target, state));
            }
        });
        Self { addr, state, task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nothing passes any more, as behind a broken cable: connections stay open, and new ones hang.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.is_cut = true);
    }

    /// Everything passes again, also what was sent meanwhile.
    pub fn heal(&self) {
        self.state.send_modify(|state| (state.is_cut, state.delay) = (false, Duration::ZERO));
    }

    /// Delays what passes.
    pub fn slow(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Closes all connections.
    pub fn disconnect(&self) {
        self.state.send_modify(|state| state.closed += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.disconnect();
        self.task.abort();
    }
}

async fn connect(near: TcpStream, target: SocketAddr, state: watch::Receiver<State>) {
    let closed = state.borrow().closed;
    let passing = async {
        open(&mut state.clone()).await;
        let Ok(far) = TcpStream::connect(target).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = pass(from_near, to_far, state.clone()) => {}
            () = pass(from_far, to_near, state.clone()) => {}
        }
    };
    let mut changes = state.clone();
    tokio::select! {
        () = passing => {}
        _ = changes.wait_for(|state| state.closed > closed) => {}
    }
}

/// Waits while the wire is cut.
async fn open(state: &mut watch::Receiver<State>) {
    if state.wait_for(|state| !state.is_cut).await.is_err() {
        std::future::pending().await
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let delays = state.clone();
    let reading = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + delays.borrow().delay;
            if sender.send((due, buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            open(&mut state).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(reading, writing);
}
