//! Connections that are made again: after what, how often, and what ends it.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Initiator, Proxy, Reconnect, Reconnecting, TlsConfig, Trust};
use support::raw_server::{Peer, RawServer, plain};
use support::{Journal, Log, TestServer, soon};
use tokio::net::TcpStream;

/// Knows which of the instances it is.
#[client_endpoint]
struct Bot {
    number: usize,
    journal: Journal,
}

impl Bot {
    #[on_open]
    fn open(&self) {
        self.journal.note(format!("open {}", self.number));
    }

    #[on_message]
    fn text(&self, text: &str) {
        self.journal.note(format!("text {} {text}", self.number));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} {}", self.number, reason.code().as_u16()));
    }
}

/// Makes bots, and notes each attempt.
fn at_once(journal: &Journal) -> Reconnect {
    let journal = journal.clone();
    Reconnect::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(5)).on_reconnect(
        move |next| {
            // what a server asks for comes on top
            assert!(next.delay() <= Duration::from_millis(10) && !next.delay().is_zero());
            assert_ne!(next.last_error().is_some(), next.close_reason().is_some());
            let why = match (next.last_error(), next.close_reason()) {
                (Some(error), _) => error.response().map_or("no answer".into(), |answer| answer.status().to_string()),
                (_, Some(reason)) => reason.code().as_u16().to_string(),
                _ => String::new(),
            };
            journal.note(format!("attempt {} after {why}", next.attempt()));
            true
        },
    )
}

async fn connect(container: &ClientContainer, policy: Reconnect, journal: &Journal) -> (Reconnecting, Peer, RawServer) {
    let server = RawServer::bind().await;
    let (count, own) = (Arc::new(AtomicUsize::new(0)), journal.clone());
    let make = move || Bot { number: count.fetch_add(1, Ordering::Relaxed), journal: own.clone() };
    let connecting = container.request(server.uri("/")).header("X-Token", "mine").reconnect(policy).connect(make);
    let (kept, peer) = soon(async { tokio::join!(connecting, server.open()) }).await;
    journal.expect("open 0").await;
    (kept.unwrap(), peer, server)
}

async fn open() -> (Reconnecting, Peer, RawServer, Journal, ClientContainer) {
    let (journal, container) = (Journal::default(), ClientContainer::new());
    let (kept, peer, server) = connect(&container, at_once(&journal), &journal).await;
    (kept, peer, server, journal, container)
}

#[tokio::test]
async fn lost_connection_is_replaced_by_a_new_session_and_instance() {
    let (mut kept, mut peer, server, journal, container) = open().await;
    for number in 1..4 {
        let before = kept.session();
        drop(peer);
        journal.expect(&format!("close {} 1006", number - 1)).await;
        journal.expect(&format!("attempt {number} after 1006")).await;
        let (asked, mut next) = server.asked().await;
        assert_eq!(asked.header("x-token"), Some("mine"));
        next.send_raw(asked.accepted(&[]).as_bytes()).await;
        journal.expect(&format!("open {number}")).await;
        let session = soon(kept.next_session()).await.unwrap();
        assert_eq!((kept.session(), before.is_open()), (session.clone(), false));
        assert_ne!(session.id(), before.id());
        next.text("here").await;
        journal.expect(&format!("text {number} here")).await;
        session.async_remote().send_text("there");
        next.expect_text("there").await;
        assert_eq!(container.sessions().len(), 1);
        peer = next;
    }
}

#[tokio::test]
async fn temporary_closes_are_followed_by_another_attempt() {
    for code in [1001, 1011, 1012, 1013, 4000] {
        let (_kept, mut peer, server, journal, _container) = open().await;
        peer.close(code, "").await;
        peer.expect_close(code).await;
        drop(peer);
        journal.expect(&format!("close 0 {code}")).await;
        journal.expect(&format!("attempt 1 after {code}")).await;
        let _peer = server.open().await;
        journal.expect("open 1").await;
    }
}

#[tokio::test]
async fn final_closes_are_not_followed_by_another_attempt() {
    for code in [1000, 1002, 1003, 1007, 1008, 1009] {
        let (kept, mut peer, _server, journal, _container) = open().await;
        peer.close(code, "").await;
        peer.expect_close(code).await;
        drop(peer);
        journal.expect(&format!("close 0 {code}")).await;
        let end = soon(kept.ended()).await;
        assert!(end.is_final() && !end.is_closed() && !end.is_given_up() && end.last_error().is_none(), "{end}");
        let reason = end.close_reason().unwrap();
        assert_eq!((reason.code().as_u16(), reason.initiator()), (code, Initiator::Peer));
        assert!(journal.rest().is_empty());
    }
}

#[tokio::test]
async fn session_that_the_application_closes_is_not_replaced() {
    for by_handle in [false, true] {
        let (mut kept, mut peer, _server, journal, _container) = open().await;
        if by_handle {
            kept.close();
        } else {
            kept.session().close();
        }
        peer.expect_close(1000).await;
        peer.close(1000, "").await;
        drop(peer);
        journal.expect("close 0 1000").await;
        let end = soon(kept.ended()).await;
        assert!(end.is_closed() && !end.is_final() && end.close_reason().unwrap().code().as_u16() == 1000, "{end}");
        assert!(soon(kept.next_session()).await.is_none());
        assert!(journal.rest().is_empty());
    }
}

#[tokio::test]
async fn attempts_are_limited() {
    let (journal, container) = (Journal::default(), ClientContainer::new());
    let (kept, peer, server) = connect(&container, at_once(&journal).max_attempts(3), &journal).await;
    // nobody listens any more
    drop(server);
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1 after 1006").await;
    journal.expect("attempt 2 after no answer").await;
    journal.expect("attempt 3 after no answer").await;
    let end = soon(kept.ended()).await;
    assert!(end.is_given_up() && end.last_error().unwrap().is_io(), "{end}");
    assert_eq!(end.close_reason().unwrap().code(), CloseCode::ClosedAbnormally);
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn responses_decide_whether_to_retry() {
    let (kept, peer, server, journal, _container) = open().await;
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1 after 1006").await;
    for (attempt, status) in
        [(2, "503 Service Unavailable"), (3, "429 Too Many Requests"), (4, "500 Internal Server Error")]
    {
        // the time that is asked for is bounded as well
        let answer = format!("HTTP/1.1 {status}\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n");
        server.answer(answer.as_bytes()).await;
        journal.expect(&format!("attempt {attempt} after {status}")).await;
    }
    server.answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    let end = soon(kept.ended()).await;
    assert!(end.is_final() && end.to_string().contains("401"), "{end}");
    assert_eq!(end.last_error().unwrap().response().unwrap().status(), 401);
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn application_may_stop_reconnecting() {
    let (journal, container) = (Journal::default(), ClientContainer::new());
    let policy = Reconnect::default().first_delay(Duration::ZERO).on_reconnect(|next| next.attempt() < 2);
    let (kept, peer, server) = connect(&container, policy, &journal).await;
    drop(peer);
    let peer = server.open().await;
    journal.expect("close 0 1006").await;
    journal.expect("open 1").await;
    drop(peer);
    journal.expect("close 1 1006").await;
    let end = soon(kept.ended()).await;
    assert!(end.is_given_up() && end.last_error().is_none(), "{end}");
}

/// So long that nobody waits for it in a test.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

#[tokio::test]
async fn waiting_reconnect_ends_by_close_and_by_shutdown() {
    for shutdown in [false, true] {
        let (journal, container) = (Journal::default(), ClientContainer::new());
        let (waits, own) = (Journal::default(), journal.clone());
        let notes = waits.clone();
        let policy = Reconnect::default().first_delay(NEVER).max_delay(NEVER).on_reconnect(move |_| {
            notes.note("waits");
            true
        });
        let (kept, peer, _server) = connect(&container, policy, &own).await;
        drop(peer);
        waits.expect("waits").await;
        if shutdown {
            let shutdown = soon(container.shutdown(NEVER)).await;
            assert_eq!((shutdown.closed, shutdown.cut), (0, 0));
        } else {
            kept.close();
        }
        assert!(soon(kept.ended()).await.is_closed());
    }
}

#[tokio::test]
async fn shutdown_ends_the_session_and_reconnecting() {
    let (kept, mut peer, _server, journal, container) = open().await;
    let serving = async {
        peer.expect_close(1001).await;
        peer.close(1001, "").await;
        drop(peer);
    };
    let (shutdown, ()) = soon(async { tokio::join!(container.shutdown(NEVER), serving) }).await;
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
    assert!(soon(kept.ended()).await.is_closed());
    journal.expect("close 0 1006").await;
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn first_attempt_is_not_repeated() {
    let server = RawServer::bind().await;
    let (journal, container) = (Journal::default(), ClientContainer::new());
    let own = journal.clone();
    let make = move || Bot { number: 0, journal: own.clone() };
    let connecting = container.request(server.uri("/")).reconnect(at_once(&journal)).connect(make);
    let answering = server.answer(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n");
    let (connected, _peer) = soon(async { tokio::join!(connecting, answering) }).await;
    assert_eq!(connected.unwrap_err().response().unwrap().status(), 503);
    assert!(journal.rest().is_empty());
}

/// Its second instance closes the connection for good, from where it is told to.
#[client_endpoint]
struct Quitter {
    number: usize,
    from: &'static str,
    kept: Arc<OnceLock<Reconnecting>>,
    journal: Journal,
}

impl Quitter {
    fn quit(&self, from: &str) {
        if self.number == 1 && self.from == from {
            self.kept.get().unwrap().close();
        }
    }

    #[on_open]
    async fn open(&self) {
        self.quit("on_open");
        if self.from == "long on_open" && self.number == 1 {
            self.journal.note("opens");
            std::future::pending::<()>().await;
        }
    }

    #[on_message]
    fn text(&self, _: &str) {
        self.quit("message");
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} {} by {:?}", self.number, reason.code().as_u16(), reason.initiator()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_while_the_next_session_opens_closes_that_one() {
    for round in 0..30 {
        for from in ["on_open", "message", "long on_open"] {
            let (journal, kept) = (Journal::default(), Arc::new(OnceLock::new()));
            let container = ClientContainer::builder().close_timeout(Duration::from_millis(100)).build();
            let server = RawServer::bind().await;
            let (count, shared, own) = (AtomicUsize::new(0), kept.clone(), journal.clone());
            let make = move || {
                let number = count.fetch_add(1, Ordering::Relaxed);
                Quitter { number, from, kept: shared.clone(), journal: own.clone() }
            };
            let policy = Reconnect::default().first_delay(Duration::ZERO);
            let connecting = container.request(server.uri("/")).reconnect(policy).connect(make);
            let (connected, peer) = soon(async { tokio::join!(connecting, server.open()) }).await;
            kept.set(connected.unwrap()).unwrap();
            drop(peer);
            journal.expect("close 0 1006 by Transport").await;
            let (asked, mut peer) = server.asked().await;
            let answer = [asked.accepted(&[]).into_bytes(), plain(0x81, b"first")].concat();
            peer.send_raw(&answer).await;
            if from == "long on_open" {
                journal.expect("opens").await;
                kept.get().unwrap().close();
            }
            // it is open for ever otherwise
            peer.expect_close(1000).await;
            peer.close(1000, "").await;
            drop(peer);
            journal.expect("close 1 1000 by Application").await;
            let end = soon(kept.get().unwrap().ended()).await;
            assert!(end.is_closed(), "round {round}, {from}: {end}");
            assert_eq!(end.close_reason().unwrap().code(), CloseCode::NormalClosure);
            assert!(container.sessions().is_empty());
        }
    }
}

#[server_endpoint("/")]
#[derive(Default)]
struct Gone;

impl Gone {
    #[on_message]
    fn text(&self, session: &Session, _: &str) {
        session.close_with(CloseReason::new(CloseCode::GoingAway, "").unwrap());
    }
}

#[tokio::test]
async fn untrusted_certificate_ends_reconnecting() {
    // behind a proxy the second connection finds another server than the first
    let (trusted, other) =
        (TlsConfig::self_signed(["a.localhost"]).unwrap(), TlsConfig::self_signed(["a.localhost"]).unwrap());
    let serve = |tls| TestServer::serving(Server::with(ServerContainer::builder().register::<Gone>()).tls(tls));
    let servers = [serve(trusted.clone()).await, serve(other).await];
    let proxy = RawServer::bind().await;
    let tunnel = async |server: &TestServer| {
        let (_, mut peer) = proxy.asked().await;
        peer.send_raw(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let mut onward = TcpStream::connect(server.addr).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut peer.stream, &mut onward).await });
    };
    let (journal, container) = (Journal::default(), ClientContainer::builder());
    let container = container.trust(Trust::only(trusted.certificate_pem()).unwrap());
    let container = container.proxy(Proxy::all(format!("http://{}", proxy.addr)).unwrap()).build();
    let own = journal.clone();
    let make = move || Bot { number: 0, journal: own.clone() };
    let connecting = container.request("wss://a.localhost/").reconnect(at_once(&journal)).connect(make);
    let (kept, ()) = soon(async { tokio::join!(connecting, tunnel(&servers[0])) }).await;
    let kept = kept.unwrap();
    journal.expect("open 0").await;
    kept.session().async_remote().send_text("go");
    journal.expect("close 0 1001").await;
    journal.expect("attempt 1 after 1001").await;
    tunnel(&servers[1]).await;
    let end = soon(kept.ended()).await;
    assert!(end.is_final() && end.last_error().unwrap().is_tls(), "{end}");
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn interrupted_attempts_are_repeated_and_protocol_errors_are_not() {
    let (kept, peer, server, journal, _container) = open().await;
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1 after 1006").await;
    for attempt in 2..4 {
        server.answer(b"HTTP/1.1 101 Switch").await;
        journal.expect(&format!("attempt {attempt} after no answer")).await;
    }
    server.answer(b"SSH-2.0-OpenSSH\r\n\r\n").await;
    let end = soon(kept.ended()).await;
    assert!(end.is_final() && end.last_error().unwrap().is_handshake(), "{end}");
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn retry_after_date_is_respected() {
    let (journal, container) = (Journal::default(), ClientContainer::new());
    let (delays, hour) = (journal.clone(), Duration::from_secs(3600));
    let policy = Reconnect::default().first_delay(Duration::from_millis(1)).max_delay(hour).on_reconnect(move |next| {
        delays.note(format!("attempt {}", next.attempt()));
        // an hour is asked for; the date has whole seconds
        next.attempt() < 2 || {
            assert!(next.delay() > Duration::from_secs(3590) && next.delay() < Duration::from_secs(3602));
            false
        }
    });
    let (kept, peer, server) = connect(&container, policy, &journal).await;
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1").await;
    let answer = "HTTP/1.1 503 Later\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                  Retry-After: Sun, 06 Nov 1994 09:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    server.answer(answer.as_bytes()).await;
    journal.expect("attempt 2").await;
    assert!(soon(kept.ended()).await.is_given_up());
}

#[tokio::test]
async fn shutdown_ends_an_attempt_at_once() {
    let (kept, peer, server, journal, container) = open().await;
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1 after 1006").await;
    // it is never answered
    let (_, mut peer) = server.asked().await;
    let shutdown = soon(container.shutdown(NEVER)).await;
    assert_eq!((shutdown.closed, shutdown.cut), (0, 0));
    assert!(soon(kept.ended()).await.is_closed());
    peer.expect_end().await;
    assert!(journal.rest().is_empty());
}

// ---- the application's panics ----

/// Panics wherever a test says.
#[client_endpoint]
struct Fragile {
    number: usize,
    journal: Journal,
    place: &'static str,
}

/// Panics when it is dropped.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        // two at a time would end the process
        assert!(!self.0 || std::thread::panicking(), "boom");
    }
}

impl Fragile {
    #[on_open]
    fn open(&self) {
        self.journal.note(format!("open {}", self.number));
    }

    #[on_message]
    async fn text(&self, _: String) {
        self.journal.note("waits");
        let _bomb = Bomb(self.place == "handler");
        std::future::pending::<()>().await;
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} {}", self.number, reason.code().as_u16()));
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        drop(Bomb(self.place == "instance"));
    }
}

/// A connection of such endpoints that is made again.
async fn fragile(place: &'static str) -> (Reconnecting, Peer, RawServer, Journal, ClientContainer) {
    let (journal, server) = (Journal::default(), RawServer::bind().await);
    let container = ClientContainer::builder().close_timeout(Duration::from_millis(50)).build();
    let (count, own, notes) = (AtomicUsize::new(0), journal.clone(), journal.clone());
    let make = move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        assert!(place != "make" || number % 3 == 0, "boom");
        Fragile { number, journal: own.clone(), place }
    };
    let policy = Reconnect::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(5));
    let policy = policy.on_reconnect(move |next| {
        let panicked = next.last_error().is_some_and(|error| error.is_panic());
        notes.note(format!("attempt {} after a panic: {panicked}", next.attempt()));
        assert!(place != "on_reconnect", "boom");
        true
    });
    let connecting = container.request(server.uri("/")).reconnect(policy).connect(make);
    let (kept, peer) = soon(async { tokio::join!(connecting, server.open()) }).await;
    journal.expect("open 0").await;
    (kept.unwrap(), peer, server, journal, container)
}

#[tokio::test]
async fn panic_of_an_instances_destructor_does_not_end_reconnecting() {
    let log = Log::capture();
    let (_kept, mut peer, server, journal, container) = fragile("instance").await;
    for number in 0..3 {
        peer.close(1001, "").await;
        peer.expect_close(1001).await;
        // the socket is left as ever
        drop(peer);
        journal.expect(&format!("close {number} 1001")).await;
        journal.expect(&format!("attempt {} after a panic: false", number + 1)).await;
        assert_eq!(log.lines("the endpoint's destructor panicked").len(), number + 1);
        peer = server.open().await;
        journal.expect(&format!("open {}", number + 1)).await;
        assert_eq!(container.sessions().len(), 1);
    }
}

#[tokio::test]
async fn constructor_panics_count_as_failed_attempts() {
    let log = Log::capture();
    let (kept, peer, server, journal, _container) = fragile("make").await;
    drop(peer);
    journal.expect("close 0 1006").await;
    for attempt in 1..4 {
        journal.expect(&format!("attempt {attempt} after a panic: {}", attempt > 1)).await;
    }
    let _peer = server.open().await;
    journal.expect("open 3").await;
    assert_eq!(log.lines("a reconnect attempt panicked").len(), 2);
    kept.close();
    soon(kept.ended()).await;
}

#[tokio::test]
async fn attempt_is_made_even_if_on_reconnect_panics() {
    let log = Log::capture();
    let (_kept, peer, server, journal, _container) = fragile("on_reconnect").await;
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1 after a panic: false").await;
    let _peer = server.open().await;
    journal.expect("open 1").await;
    assert_eq!(log.lines("on_reconnect panicked").len(), 1);
}

#[tokio::test]
async fn session_whose_task_panics_counts_as_lost() {
    let log = Log::capture();
    let (_kept, mut peer, server, journal, _container) = fragile("handler").await;
    peer.text("hello").await;
    journal.expect("waits").await;
    // the handler is given up, with what it holds
    drop(peer);
    journal.expect("close 0 1006").await;
    journal.expect("attempt 1 after a panic: false").await;
    let _peer = server.open().await;
    journal.expect("open 1").await;
    assert_eq!(log.lines("a connection's task panicked").len(), 1);
}
