//! What a session makes of a transport that takes what it likes: few bytes at a time, a flush that waits, a write that
//! fails. TLS is such a one; here a valve is turned by the test.

mod support;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Initiator};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{BINARY, Client, Journal, soon};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The send and close timeouts.
const SHORT: Duration = Duration::from_millis(200);

/// How the server's side of a connection takes what is written to it.
#[derive(Clone, Default)]
struct Valve(Arc<(Mutex<State>, Notify)>);

#[derive(Default)]
struct State {
    /// It takes so many bytes more.
    closed_after: Option<usize>,
    waiting: Option<Waker>,
    /// The next write fails; those after it would not.
    fails: bool,
    /// Each flush waits once.
    flushes_late: bool,
    flushing: bool,
    written: Vec<u8>,
    writes: usize,
}

impl Valve {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// Takes so many bytes, then no more.
    fn take(&self, bytes: usize) {
        let mut state = self.state();
        state.closed_after = Some(bytes);
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    /// A write was attempted, and nothing of it taken.
    async fn is_tried(&self) {
        soon(self.0.1.notified()).await;
    }
}

struct Socket(TcpStream, Valve);

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self(stream, valve) = self.get_mut();
        let mut state = valve.state();
        if std::mem::take(&mut state.fails) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let some = bytes.len().min(state.closed_after.unwrap_or(usize::MAX));
        if some == 0 && !bytes.is_empty() {
            state.waiting = Some(cx.waker().clone());
            valve.0.1.notify_one();
            return Poll::Pending;
        }
        let written = Pin::new(stream).poll_write(cx, &bytes[..some]);
        if let Poll::Ready(Ok(count)) = written {
            state.written.extend_from_slice(&bytes[..count]);
            state.writes += 1;
            state.closed_after = state.closed_after.map(|left| left - count);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self(stream, valve) = self.get_mut();
        let mut state = valve.state();
        state.flushing = state.flushes_late && !state.flushing;
        if state.flushing {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[server_endpoint("/echo")]
struct Echo {
    sessions: UnboundedSender<Session>,
    journal: Journal,
}

impl Echo {
    #[on_open]
    fn open(&self, session: Session) {
        self.sessions.send(session).unwrap();
    }

    #[on_message]
    fn text(&self, message: &str) -> String {
        message.to_owned()
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
    }
}

struct Served {
    listener: TcpListener,
    container: ServerContainer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
}

impl Served {
    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal) = (unbounded_channel(), Journal::default());
        let own = journal.clone();
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Echo { sessions: sender.clone(), journal: own.clone() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, container: set(container).build().unwrap(), sessions, journal }
    }

    /// A client, its session, and the valve between them, which is open.
    async fn open(&mut self) -> (Client, Session, Valve) {
        let valve = Valve::default();
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let socket = Socket(self.listener.accept().await.unwrap().0, valve.clone());
        let service = TowerToHyperService::new(self.container.clone());
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades();
        tokio::spawn(async move { connection.await.unwrap() });
        let client = Client::upgrade(client, "/echo").await;
        let session = soon(self.sessions.recv()).await.unwrap();
        valve.state().written.clear();
        (client, session, valve)
    }
}

#[tokio::test]
async fn message_is_reported_when_its_own_bytes_are_written_though_more_is_queued_behind() {
    let mut served = Served::with(|container| container).await;
    let (mut client, session, valve) = served.open().await;
    valve.take(0);
    let own = session.clone();
    let first = tokio::spawn(async move { own.basic_remote().send_text("first").await });
    valve.is_tried().await;
    let last = session.async_remote().send_binary(vec![7; 100_000]);
    valve.is_tried().await;
    // the peer takes nothing: what waits counts as it is on the wire, with its headers
    assert_eq!(session.queued_bytes(), 2 + 5 + 10 + 100_000);
    valve.take(2 + 5);
    soon(first).await.unwrap().unwrap();
    assert_eq!(valve.state().written.len(), 2 + 5);
    assert_eq!(session.queued_bytes(), 10 + 100_000);
    client.expect_text("first").await;
    valve.take(usize::MAX);
    soon(last.into_future()).await.unwrap();
    assert_eq!(session.queued_bytes(), 0);
    assert_eq!(client.expect(BINARY).await.len(), 100_000);
}

#[tokio::test]
async fn batch_that_came_together_is_answered_by_one_write() {
    let mut served = Served::with(|container| container).await;
    let (mut client, _session, valve) = served.open().await;
    for messages in [16, 40, 200] {
        let batch = support::frame(0x81, b"a text of 20 bytes!!").repeat(messages);
        // who goes on and on is no worse off while nobody else says anything
        for round in 0..50 {
            valve.state().writes = 0;
            client.send_raw(&batch).await;
            for _ in 0..messages {
                client.expect_text("a text of 20 bytes!!").await;
            }
            assert_eq!(valve.state().writes, 1, "for {messages} messages in round {round}");
        }
    }
}

#[tokio::test]
async fn delayed_flush_is_not_a_stalled_peer() {
    let mut served = Served::with(|container| container.send_timeout(SHORT)).await;
    let (mut client, session, valve) = served.open().await;
    let (mut other, silent, _) = served.open().await;
    valve.state().flushes_late = true;
    client.text("before").await;
    client.expect_text("before").await;
    // more than the send timeout passes: another session ends by a longer one
    silent.set_idle_timeout(Some(2 * SHORT));
    other.expect_close(1001).await;
    assert!(session.is_open());
    client.text("after").await;
    client.expect_text("after").await;
}

#[tokio::test]
async fn nothing_is_written_after_a_write_that_failed_nor_reported_as_written() {
    for closes in [false, true] {
        let mut served = Served::with(|container| container).await;
        let (mut client, session, valve) = served.open().await;
        valve.state().fails = true;
        let sent = [session.async_remote().send_binary(vec![7; 100_000]), session.async_remote().send_text("more")];
        if closes {
            session.close();
        }
        let initiator = if closes { "1000 by Application" } else { "1006 by Transport" };
        served.journal.expect(&format!("close {initiator}")).await;
        client.expect_end().await;
        assert!(valve.state().written.is_empty(), "{:?}", valve.state().written);
        for sent in sent {
            assert!(sent.await.unwrap_err().is_closed());
        }
    }
}

#[tokio::test]
async fn nothing_is_written_after_half_a_message_when_the_send_timeout_has_passed() {
    for closes in [false, true] {
        let mut served = Served::with(|container| container.send_timeout(SHORT).close_timeout(SHORT)).await;
        let (mut client, session, valve) = served.open().await;
        valve.take(1_000);
        session.async_remote().send_binary(vec![7; 100_000]).queued().unwrap();
        valve.is_tried().await;
        session.async_remote().send_text("more").queued().unwrap();
        if closes {
            // not before the last moment, and not while it can be written
            served.container.sessions().iter().for_each(Session::close);
        }
        let initiator =
            if closes { "1000 by Application".to_owned() } else { format!("1006 by {:?}", Initiator::Container) };
        served.journal.expect(&format!("close {initiator}")).await;
        valve.take(usize::MAX);
        let mut rest = Vec::new();
        soon(tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest)).await.unwrap();
        assert_eq!(rest.len(), 1_000);
        assert_eq!(valve.state().written.len(), 1_000);
    }
}
