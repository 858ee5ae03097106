//! What a shutdown ends and what it waits for: every session, every handshake, every answer, and not longer than told.

mod support;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Server, Shutdown};
use hyper::body::{Body, Frame};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{Client, DEADLINE, Journal, TestServer, soon};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, interval};
use tower::{Service, service_fn};

/// No other limit than the shutdown's.
const LONG: Duration = Duration::from_secs(600);

/// What a machine that has much else to do may add to a limit.
const A_BIT: Duration = Duration::from_secs(4);

/// More than the kernel keeps of one connection.
const LARGE: usize = 16 << 20;

/// Does what its query says when it opens, and counts.
#[server_endpoint("/end")]
struct Ending {
    news: Bytes,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    answered: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
}

impl Ending {
    #[on_open]
    fn open(&self, session: &Session) {
        let wish = session.query_string().unwrap_or_default();
        if wish.contains("deaf") {
            session.async_remote().send_binary(self.news.clone()).queued().unwrap();
        }
        if wish.contains("closed") {
            session.close();
        }
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
    }

    #[on_message]
    fn text(&self, _: &str) -> Bytes {
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
        self.news.clone()
    }

    #[on_close]
    async fn close(&self, session: &Session) {
        self.counts.closed.fetch_add(1, Ordering::Relaxed);
        if session.query_string().is_some_and(|wish| wish.contains("endless")) {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

async fn server() -> (TestServer, Arc<Counts>) {
    server_with(LONG).await
}

async fn server_with(close_timeout: Duration) -> (TestServer, Arc<Counts>) {
    let (news, counts) = (Bytes::from(vec![7; LARGE]), Arc::new(Counts::default()));
    let own = counts.clone();
    let container = ServerContainer::builder()
        .idle_timeout(None)
        .ping_interval(None)
        .send_timeout(LONG)
        .send_queue(1_000, LARGE / 4)
        .close_timeout(close_timeout)
        .endpoint_with(move |_| Ok(Ending { news: news.clone(), counts: own.clone() }));
    (TestServer::with(container).await, counts)
}

/// A peer for which the kernel keeps little.
async fn narrow(server: &TestServer, path: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    Client::upgrade(soon(socket.connect(server.addr)).await.unwrap(), path).await
}

async fn reaches(count: &AtomicUsize, many: usize) {
    soon(async {
        while count.load(Ordering::Relaxed) < many {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Tasks of this runtime that have not ended; the server's own is one.
fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Answers the close frame when it comes.
async fn polite(mut client: Client) {
    client.expect_close(1001).await;
    client.close(1001, "").await;
    client.expect_end().await;
}

#[tokio::test]
async fn shutdown_ends_a_thousand_sessions_within_the_limit() {
    const WISHES: [&str; 6] = ["silent", "silent-closed", "deaf", "deaf-closed", "silent-endless", "deaf-endless"];
    let limit = Duration::from_secs(3);
    let (server, counts) = server().await;
    let (mut talking, mut rude) = (Vec::new(), Vec::new());
    for number in 0..1_000 {
        // a deaf peer costs the kernel memory
        match WISHES.get(number % 10).filter(|wish| number < 100 || !wish.contains("deaf")) {
            Some(wish) => rude.push(narrow(&server, &format!("/end?{wish}")).await),
            None => talking.push(tokio::spawn(polite(server.connect("/end").await))),
        }
    }
    reaches(&counts.opened, 1_000).await;
    let started = Instant::now();
    let shutdown = soon(server.container.shutdown(limit)).await;
    let took = started.elapsed();
    assert_eq!((shutdown.closed, shutdown.cut), (talking.len(), rude.len()));
    assert!(limit <= took && took < limit + A_BIT, "{took:?}");
    assert_eq!(counts.closed.load(Ordering::Relaxed), 1_000);
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 1_000);
    assert!(server.container.sessions().is_empty());
    for client in talking {
        soon(client).await.unwrap();
    }
    assert_eq!(alive(), 1);
    let mut lost = vec![0; 64 << 10];
    for mut client in rude {
        // to its end, or to a reset
        while soon(client.stream.read(&mut lost)).await.is_ok_and(|count| count > 0) {}
    }
}

#[tokio::test]
async fn only_the_session_of_a_stalled_peer_is_aborted() {
    for wish in ["silent", "silent-closed", "silent-endless", "deaf", "deaf-closed", "deaf-endless"] {
        let (server, counts) = server().await;
        let _client = narrow(&server, &format!("/end?{wish}")).await;
        reaches(&counts.opened, 1).await;
        let started = Instant::now();
        let shutdown = soon(server.container.shutdown(Duration::from_millis(100))).await;
        let took = started.elapsed();
        assert_eq!((shutdown.closed, shutdown.cut), (0, 1), "{wish}");
        assert!(took < A_BIT, "{wish}: {took:?}");
        assert_eq!(alive(), 1, "{wish}");
        assert_eq!(counts.closed.load(Ordering::Relaxed), 1, "{wish}");
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 1, "{wish}");
    }
}

#[tokio::test]
async fn session_blocked_on_a_reply_is_aborted() {
    let (server, counts) = server().await;
    let mut client = narrow(&server, "/end").await;
    client.text("and now the news").await;
    // the connection waits until the peer has read the answer, and hears of nothing else that it has to do
    reaches(&counts.answered, 1).await;
    let shutdown = soon(server.container.shutdown(Duration::from_millis(100))).await;
    assert_eq!((shutdown.closed, shutdown.cut), (0, 1));
    assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn session_blocked_on_a_reply_receives_closed() {
    let (server, counts) = server_with(Duration::from_millis(100)).await;
    let mut client = narrow(&server, "/end").await;
    client.text("and now the news").await;
    reaches(&counts.answered, 1).await;
    server.container.sessions().iter().for_each(Session::close);
    // by the close timeout, not by the send timeout
    reaches(&counts.closed, 1).await;
}

// ---- handshakes in flight ----

/// Its instance is a while in the making.
#[server_endpoint("/slow")]
struct Slow(Journal);

impl Slow {
    #[on_open]
    fn open(&self) {
        self.0.note("open");
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {}", reason.code()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn handshake_in_flight_completes_and_the_next_one_is_refused() {
    let journal = Journal::default();
    let ((go, gone), own) = (mpsc::channel::<()>(), journal.clone());
    let gone = Mutex::new(gone);
    let container = ServerContainer::builder().endpoint_with(move |_| {
        own.note("construct");
        // what else this thread had to do goes to another
        tokio::task::block_in_place(|| gone.lock().unwrap().recv_timeout(DEADLINE).unwrap());
        Ok(Slow(own.clone()))
    });
    let server = TestServer::with(container).await;
    let addr = server.addr;
    let client = tokio::spawn(async move { polite(Client::connect(addr, "/slow").await).await });
    journal.expect("construct").await;

    let mut down = pin!(server.container.shutdown(DEADLINE));
    assert!(down.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "the shutdown did not wait");
    let (refused, _) = Client::try_connect(addr, "/slow", &[]).await;
    assert_eq!(refused.status, 503);
    go.send(()).unwrap();
    let shutdown = soon(down).await;
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
    soon(client).await.unwrap();
    journal.expect("open").await;
    journal.expect("close 1006").await;
    assert_eq!(journal.rest(), [""; 0]);
}

type Down = Pin<Box<dyn Future<Output = Shutdown> + Send>>;

#[tokio::test]
async fn session_whose_task_has_not_run_yet_counts_once() {
    let container = ServerContainer::builder().endpoint_with(|_| Ok(Slow(Journal::default()))).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, started) = oneshot::channel::<Down>();
    let sender = Arc::new(Mutex::new(Some(sender)));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (mut container, sender) = (container.clone(), sender.clone());
            async move {
                let response = container.call(request).await;
                // the handshake is accepted, and nothing else on this one thread has had its turn
                let mut down: Down = Box::pin(async move { container.shutdown(DEADLINE).await });
                assert!(down.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                sender.lock().unwrap().take().unwrap().send(down).ok().unwrap();
                response
            }
        });
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        connection.with_upgrades().await.unwrap();
    });
    let client = tokio::spawn(async move { polite(Client::connect(addr, "/slow").await).await });
    let shutdown = soon(soon(started).await.unwrap()).await;
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
    soon(client).await.unwrap();
}

// ---- answers of HTTP ----

/// A response that never ends; what it says, it says now and then.
struct Endless {
    journal: Journal,
    speaks: Option<Interval>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(pace) = &mut self.speaks else { return Poll::Pending };
        pace.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"and on and on")))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.journal.note("dropped");
    }
}

/// The fallback's answers, by path: a body without end that speaks, or is silent, or no answer at all.
async fn endless(path: &'static str) {
    let (journal, limit) = (Journal::default(), Duration::from_millis(300));
    let own = journal.clone();
    let fallback = service_fn(move |request: Request<hyper::body::Incoming>| {
        let speaks = (request.uri().path() == "/speaks").then(|| interval(Duration::from_millis(1)));
        let body = Endless { journal: own.clone(), speaks };
        async move {
            body.journal.note("asked");
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Slow(own.clone())));
    let server = TestServer::serving(Server::with(container).fallback(fallback).shutdown_timeout(limit)).await;
    let mut client = Client::from(soon(tokio::net::TcpStream::connect(server.addr)).await.unwrap());
    client.send_raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    journal.expect("asked").await;
    let reading = tokio::spawn(async move {
        let mut lost = vec![0; 64 << 10];
        while client.stream.read(&mut lost).await.is_ok_and(|count| count > 0) {}
    });
    let started = Instant::now();
    let shutdown = server.shutdown().await;
    let took = started.elapsed();
    assert_eq!((shutdown.closed, shutdown.cut), (0, 0));
    assert!(limit <= took && took < limit + A_BIT, "{took:?}");
    assert_eq!(journal.rest(), ["dropped"], "{path}");
    soon(reading).await.unwrap();
}

#[tokio::test]
async fn endless_response_is_aborted_at_the_end_of_a_shutdown() {
    endless("/speaks").await;
}

#[tokio::test]
async fn stalled_response_is_aborted_at_the_end_of_a_shutdown() {
    endless("/silent").await;
    endless("/never").await;
}
