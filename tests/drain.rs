//! How sessions leave a server that is about to stop: when, in which order, with which hint, and how their clients come
//! back.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{TestClient, TestCluster, TestServer as InMemory, Traffic};
use endpoint_runtime::{Drain, DrainOrder, Drained, Reconnecting, RetryHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{Client, Journal, TestServer, soon};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Writes down its end, and does what it is told.
#[server_endpoint("/drain/{name}")]
struct Leaving(Journal);

impl Leaving {
    #[on_message]
    async fn text(&self, text: &str, session: &Session) {
        match text {
            "close" => session.close(),
            "slow" => {
                self.0.note("begins");
                sleep(2 * SECOND).await;
                self.0.note("ends");
            }
            "drain" => {
                let drained = session.container().unwrap().drain(Drain::over(Duration::ZERO)).await;
                self.0.note(format!("{} pending", drained.pending));
            }
            text => panic!("{text}"),
        }
    }

    #[on_close]
    fn close(&self, #[path_param] name: &str) {
        self.0.note(name);
    }
}

fn builder() -> (ContainerBuilder, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    (ServerContainer::builder().endpoint_with(move |_| Ok(Leaving(own.clone()))), journal)
}

fn in_memory() -> (InMemory, Journal) {
    let (builder, journal) = builder();
    (InMemory::new(builder.build().unwrap()), journal)
}

async fn clients(server: &InMemory, names: impl IntoIterator<Item = String>) -> Vec<TestClient> {
    let mut clients = Vec::new();
    for name in names {
        clients.push(server.connect(&format!("/drain/{name}")).await);
    }
    clients
}

/// The code and the hint of the close frame that comes next.
async fn farewell(client: &mut TestClient) -> (u16, RetryHint) {
    let Traffic::Close { code, reason } = client.next().await else { panic!("no close frame") };
    (code.as_u16(), RetryHint::parse(&reason).unwrap_or_else(|| panic!("{reason:?} is no hint")))
}

fn counts(Drained { left, closed, cut, .. }: Drained) -> [usize; 3] {
    [left, closed, cut]
}

// ---- in memory ----

#[tokio::test(start_paused = true)]
async fn sessions_leave_evenly_over_the_time_with_code_and_hint() {
    let (server, _) = in_memory();
    let clients = clients(&server, (0..20).map(|number| number.to_string())).await;
    let drain = Drain::over(20 * SECOND).close_code(CloseCode::ServiceRestart).retry_after(3 * SECOND, 7 * SECOND);
    let start = Instant::now();
    let mut ends = JoinSet::new();
    for mut client in clients {
        ends.spawn(async move {
            assert_eq!(farewell(&mut client).await, (1012, RetryHint::new(3 * SECOND, 7 * SECOND)));
            start.elapsed()
        });
    }
    let drained = server.container().drain(drain).await;
    assert_eq!(counts(drained), [0, 20, 0]);
    // the last step is one second before the end, and nobody waits for nothing
    assert!((19 * SECOND..20 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    let mut ends = ends.join_all().await;
    ends.sort_unstable();
    for (number, end) in (0..).zip(ends) {
        let (from, to) = (number * SECOND, number * SECOND + SECOND / 10);
        assert!((from..to).contains(&end), "session {number} left after {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn batch_limits_how_many_leave_together() {
    let (server, _) = in_memory();
    let mut clients = clients(&server, (0..30).map(|number| number.to_string())).await;
    let draining = server.container().clone();
    let drained = tokio::spawn(async move { draining.drain(Drain::over(SECOND / 10).batch(3)).await });
    let mut before = 30;
    while before > 0 {
        // a step is ten milliseconds long
        sleep(Duration::from_millis(1)).await;
        let open = server.container().sessions().len();
        assert!(before - open <= 3, "{before} to {open}");
        before = open;
    }
    for client in &mut clients {
        farewell(client).await;
    }
    assert_eq!(counts(drained.await.unwrap()), [0, 30, 0]);
}

#[tokio::test(start_paused = true)]
async fn readiness_flips_first_and_handshakes_are_refused_after_the_delay() {
    let (server, _) = in_memory();
    let container = server.container().clone();
    assert!(!container.is_draining());
    let mut early = server.connect("/drain/early").await;
    let draining = container.clone();
    let drain = Drain::over(60 * SECOND).readiness_delay(5 * SECOND).retry_after(4 * SECOND, 3 * SECOND);
    let drained = tokio::spawn(async move { draining.drain(drain).await });
    sleep(SECOND).await;
    assert!(container.is_draining());
    let mut late = server.connect("/drain/late").await;
    assert_eq!(container.sessions().len(), 2);
    sleep(5 * SECOND).await;
    for _ in 0..20 {
        let refusal = server.request("/drain/refused").expect_refusal(503).await;
        let seconds: u64 = refusal.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((4..=7).contains(&seconds), "{seconds}");
    }
    tokio::join!(farewell(&mut early), farewell(&mut late));
    assert_eq!(counts(drained.await.unwrap()), [0, 2, 0]);
    assert!(container.is_draining());
}

#[tokio::test(start_paused = true)]
async fn peer_that_does_not_answer_is_cut_at_the_end() {
    let (server, journal) = in_memory();
    let mut polite = server.connect("/drain/polite").await;
    let silent = server.request("/drain/silent").silent().connect().await;
    let (start, container) = (Instant::now(), server.container().clone());
    // less than the close timeout
    let drain = Drain::over(SECOND).cut_after(2 * SECOND);
    let drained = tokio::spawn(async move { container.drain(drain).await });
    farewell(&mut polite).await;
    assert_eq!(counts(drained.await.unwrap()), [0, 1, 1]);
    // the second step is after half a second
    let elapsed = start.elapsed();
    assert!((5 * SECOND / 2..5 * SECOND / 2 + SECOND / 10).contains(&elapsed), "{elapsed:?}");
    let mut ends = journal.rest();
    ends.sort_unstable();
    assert_eq!(ends, ["polite", "silent"]);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_end_by_themselves_have_left_and_the_drain_ends_with_the_last_one() {
    let (server, _) = in_memory();
    let mut clients = clients(&server, (0..4).map(|number| number.to_string())).await;
    let container = server.container().clone();
    let start = Instant::now();
    let drained = tokio::spawn(async move { container.drain(Drain::over(40 * SECOND)).await });
    // the first is closed at once, the next would be after ten seconds
    sleep(SECOND).await;
    assert_eq!(server.container().sessions().len(), 3);
    let open = server.container().sessions();
    let open = open.iter().map(|session| session.path_param("name").unwrap().parse::<usize>().unwrap());
    for number in open.collect::<Vec<_>>() {
        clients[number].send_text("close").await;
    }
    assert_eq!(counts(drained.await.unwrap()), [3, 1, 0]);
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn queued_messages_go_first_and_a_running_handler_may_end() {
    let (server, journal) = in_memory();
    let mut client = server.connect("/drain/busy").await;
    client.send_text("slow").await;
    journal.expect("begins").await;
    server.container().sessions().async_remote().send_text("news");
    let container = server.container().clone();
    let drained = tokio::spawn(async move { container.drain(Drain::over(Duration::ZERO)).await });
    client.expect_text("news").await;
    farewell(&mut client).await;
    journal.expect("ends").await;
    journal.expect("busy").await;
    assert_eq!(counts(drained.await.unwrap()), [0, 1, 0]);
    assert!(journal.rest().is_empty(), "on_close ran twice");
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_leave_first() {
    let (server, journal) = in_memory();
    let names = (0..20).map(|number| format!("{}{number}", if number % 2 == 0 { "idle" } else { "busy" }));
    let clients = clients(&server, names).await;
    let container = server.container().clone();
    let is_busy = |session: &&Session| session.path_param("name").is_some_and(|name| name.starts_with("busy"));
    let busy = container.sessions().filter(is_busy);
    assert_eq!(busy.len(), 10);
    let talk = tokio::spawn(async move {
        loop {
            busy.async_remote().send_text("tick");
            sleep(SECOND / 20).await;
        }
    });
    let drained = container.drain(Drain::over(20 * SECOND).order(DrainOrder::IdleFirst)).await;
    talk.abort();
    assert_eq!(counts(drained), [0, 20, 0]);
    let ends = journal.rest();
    assert!(ends[..10].iter().all(|name| name.starts_with("idle")), "{ends:?}");
    assert!(ends[10..].iter().all(|name| name.starts_with("busy")), "{ends:?}");
    drop(clients);
}

#[tokio::test(start_paused = true)]
async fn session_that_becomes_busy_while_it_waits_goes_to_the_end_once() {
    let (server, journal) = in_memory();
    let clients = clients(&server, (0..10).map(|number| number.to_string())).await;
    let container = server.container().clone();
    let all = container.sessions();
    // nothing happens in the first second, and then everywhere: everyone is put back once, and everyone leaves
    let talk = tokio::spawn(async move {
        sleep(2 * SECOND).await;
        loop {
            all.async_remote().send_text("tick");
            sleep(SECOND / 20).await;
        }
    });
    let drained = container.drain(Drain::over(20 * SECOND).order(DrainOrder::IdleFirst)).await;
    talk.abort();
    assert_eq!(counts(drained), [0, 10, 0]);
    assert_eq!(journal.rest().len(), 10);
    drop(clients);
}

#[tokio::test(start_paused = true)]
async fn handler_that_drains_its_own_container_does_not_wait_for_itself() {
    let (server, journal) = in_memory();
    let mut client = server.connect("/drain/own").await;
    client.send_text("drain").await;
    journal.expect("1 pending").await;
    farewell(&mut client).await;
    journal.expect("own").await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_a_drain_and_spreads_the_clients_over_the_rest_of_its_time() {
    let (server, _) = in_memory();
    let mut clients = clients(&server, (0..6).map(|number| number.to_string())).await;
    let (start, container) = (Instant::now(), server.container().clone());
    let drained = tokio::spawn(async move { container.drain(Drain::over(60 * SECOND)).await });
    sleep(SECOND).await;
    let shutdown = server.shutdown(SECOND).await;
    assert_eq!((shutdown.closed, shutdown.cut), (5, 0));
    assert!(drained.await.is_ok() && start.elapsed() < 2 * SECOND);
    let mut spreads = Vec::new();
    for client in &mut clients {
        spreads.push(farewell(client).await.1.spread());
    }
    spreads.sort_unstable();
    // one had left with the ordinary hint
    assert_eq!(spreads[0], SECOND);
    assert!(spreads[1..].iter().all(|spread| (58 * SECOND..=59 * SECOND).contains(spread)), "{spreads:?}");
}

// ---- presence in a cluster ----

struct Named(String);

impl Principal for Named {
    fn name(&self) -> &str {
        &self.0
    }
}

/// Hears who is in the room.
#[server_endpoint("/room", presence(grace = "15s"))]
#[derive(Default)]
struct Room;

impl Room {
    #[on_open]
    fn enter(&mut self, session: &Session) {
        session.join("room");
    }

    #[on_presence]
    fn change(&mut self, change: Presence) -> String {
        let names = |users: &[Present]| users.iter().map(|user| user.name.to_string()).collect::<Vec<_>>().join(",");
        format!("+{} -{}", names(&change.joined), names(&change.left))
    }
}

#[tokio::test(start_paused = true)]
async fn user_who_moves_to_another_node_within_the_grace_period_has_not_left() {
    let by_name = async |request: &HandshakeRequest, response: &mut HandshakeResponse| {
        response.set_principal(Named(request.query_string().unwrap_or_default().to_owned()));
        Ok::<_, Refusal>(())
    };
    let cluster = TestCluster::new(2, move |builder| builder.register::<Room>().handshake(by_name));
    cluster.settle().await;
    let mut watcher = cluster.node(1).connect("/room?watcher").await;
    watcher.expect_text("+watcher -").await;
    let mut ann = cluster.node(0).connect("/room?ann").await;
    watcher.expect_text("+ann -").await;
    let leaving = cluster.node(0).container().clone();
    let drained = tokio::spawn(async move { leaving.drain(Drain::over(2 * SECOND)).await });
    loop {
        match ann.next().await {
            Traffic::Text(_) => {}
            Traffic::Close { code, .. } => break assert_eq!(code, CloseCode::GoingAway),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts(drained.await.unwrap()), [0, 1, 0]);
    sleep(5 * SECOND).await;
    let _ann = cluster.node(1).connect("/room?ann").await;
    sleep(60 * SECOND).await;
    watcher.send_ping("anything else?").await;
    watcher.expect_pong("anything else?").await;
}

// ---- over real sockets ----

/// A server, and the number of signals that it has got.
async fn serve(
    drain: Drain,
) -> (watch::Sender<u32>, tokio::task::JoinHandle<Drained>, ServerContainer, std::net::SocketAddr) {
    let (builder, _) = builder();
    let server = Server::with(builder).drain(drain).quiet().bind("127.0.0.1:0").await.unwrap();
    let (addr, container) = (server.local_addr().unwrap(), server.container().clone());
    let signals = watch::Sender::new(0);
    let [mut one, mut two] = [(); 2].map(|()| signals.subscribe());
    let served = tokio::spawn(async move {
        let first = async { drop(one.wait_for(|count| *count >= 1).await) };
        let second = async { drop(two.wait_for(|count| *count >= 2).await) };
        server.run_draining(first, second).await.unwrap()
    });
    (signals, served, container, addr)
}

async fn drains(container: &ServerContainer) {
    soon(async {
        while !container.is_draining() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn listener_stays_open_and_keep_alive_connections_are_closed_after_an_answer() {
    let (signals, served, container, addr) = serve(Drain::over(600 * SECOND)).await;
    let mut first = Client::connect(addr, "/drain/first").await;
    let mut second = Client::connect(addr, "/drain/second").await;
    let page = ["GET /page HTTP/1.1", "Host: localhost"];
    let (answer, mut kept) = Client::request(addr, &page, b"").await;
    assert_eq!((answer.status, answer.header("connection")), (404, None));
    signals.send_modify(|count| *count += 1);
    drains(&container).await;

    kept.send_raw(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = kept.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    kept.expect_end().await;

    // until handshakes are refused, which may be a moment later
    let refused = soon(async {
        loop {
            let (answer, mut client) = Client::try_connect(addr, "/drain/third", &[]).await;
            if answer.status == 503 {
                client.expect_end().await;
                break answer;
            }
            client.close(1000, "").await;
        }
    });
    let refused = refused.await;
    assert_eq!(refused.header("connection"), Some("close"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");

    signals.send_modify(|count| *count += 1);
    for client in [&mut first, &mut second] {
        let hint = RetryHint::parse(&client.expect_close(1001).await).unwrap();
        assert_eq!(hint.retry(), SECOND / 2);
        client.close(1001, "").await;
    }
    let drained = soon(served).await.unwrap();
    assert_eq!(drained.cut, 0);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn second_signal_closes_all_and_cuts_after_a_second() {
    let (signals, served, container, addr) = serve(Drain::over(600 * SECOND)).await;
    let mut clients = Vec::new();
    for number in 0..6 {
        clients.push(Client::connect(addr, &format!("/drain/{number}")).await);
    }
    soon(async {
        while container.sessions().len() < 6 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    signals.send_modify(|count| *count += 1);
    soon(async {
        while container.sessions().len() != 5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let start = Instant::now();
    signals.send_modify(|count| *count += 1);
    let mut spreads = Vec::new();
    // the last client hears the end, and does not answer
    for client in &mut clients {
        spreads.push(RetryHint::parse(&client.expect_close(1001).await).unwrap().spread());
    }
    for client in &mut clients[..5] {
        client.close(1001, "").await;
    }
    spreads.sort_unstable();
    assert!(spreads[0] == SECOND && spreads[1] > 500 * SECOND, "{spreads:?}");
    let drained = soon(served).await.unwrap();
    assert_eq!(counts(drained), [0, 5, 1]);
    assert!(start.elapsed() >= SECOND, "it was cut after {:?}", start.elapsed());
}

#[tokio::test]
async fn second_signal_cuts_a_shutdown_without_a_drain() {
    let (builder, _) = builder();
    let server = Server::with(builder.close_timeout(600 * SECOND)).shutdown_timeout(600 * SECOND).quiet();
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let ((first, one), (second, two)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
    let served = tokio::spawn(server.run_draining(async { drop(one.await) }, async { drop(two.await) }));
    let mut silent = Client::connect(addr, "/drain/silent").await;
    first.send(()).unwrap();
    assert_eq!(silent.expect_close(1001).await, "the server is shutting down");
    second.send(()).unwrap();
    assert_eq!(counts(soon(served).await.unwrap().unwrap()), [0, 0, 1]);
}

/// Reports to nobody.
#[client_endpoint]
struct Bot;

#[tokio::test]
async fn client_waits_as_the_hint_says() {
    let (builder, _) = builder();
    let server = TestServer::with(builder).await;
    let (attempts, next) = std::sync::mpsc::channel();
    let policy = Reconnect::default().first_delay(Duration::from_millis(1)).on_reconnect(move |next| {
        let hint = next.close_reason().and_then(CloseReason::retry_hint);
        attempts.send((next.delay(), hint)).unwrap();
        false
    });
    let request = ClientContainer::new().request(format!("ws://{}/drain/bot", server.addr));
    let kept: Reconnecting = soon(request.reconnect(policy).connect(|| Bot)).await.unwrap();
    server.container.drain(Drain::over(Duration::ZERO).retry_after(7 * SECOND, 2 * SECOND)).await;
    assert!(soon(kept.ended()).await.is_given_up());
    let (delay, hint) = next.try_recv().unwrap();
    assert_eq!(hint, Some(RetryHint::new(7 * SECOND, 2 * SECOND)));
    assert!((7 * SECOND..=9 * SECOND).contains(&delay), "{delay:?}");
}

// ---- no storm ----

/// Notes when it was opened.
#[server_endpoint("/storm")]
struct Arrival(Arc<Mutex<Vec<Instant>>>);

impl Arrival {
    #[on_open]
    fn open(&self) {
        self.0.lock().unwrap().push(Instant::now());
    }
}

type Arrivals = Arc<Mutex<Vec<Instant>>>;

fn process() -> (ServerContainer, Arrivals) {
    let arrivals = Arrivals::default();
    let own = arrivals.clone();
    // a busy machine ends no session
    let builder = ServerContainer::builder().close_timeout(60 * SECOND).idle_timeout(None).ping_interval(None);
    let container = builder.endpoint_with(move |_| Ok(Arrival(own.clone()))).build().unwrap();
    (container, arrivals)
}

/// Listens on one address for two processes, as a load balancer with a readiness check: connections go to the first
/// until it drains, then to the second.
async fn balance(first: ServerContainer, second: ServerContainer) -> std::net::SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(4096).unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let container = if first.is_draining() { second.clone() } else { first.clone() };
            tokio::spawn(async move {
                let service = TowerToHyperService::new(container);
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    addr
}

/// The most arrivals within any such time.
fn most_within(arrivals: &[Instant], time: Duration) -> usize {
    let within = |first: usize| arrivals[first..].partition_point(|arrival| *arrival - arrivals[first] < time);
    (0..arrivals.len()).map(within).max().unwrap_or_default()
}

/// Drains a process with so many clients of ours; returns when each came to the second process, in order. They come within
/// the time, or somewhat later.
async fn deploy(clients: usize, drain: Drain, time: Duration) -> Vec<Instant> {
    let ((first, here), (second, there)) = (process(), process());
    let uri = format!("ws://{}/storm", balance(first.clone(), second.clone()).await);
    let (container, at_once) = (ClientContainer::new(), Arc::new(Semaphore::new(64)));
    let mut connecting = JoinSet::new();
    for _ in 0..clients {
        let (request, at_once) = (container.request(&uri), at_once.clone());
        connecting.spawn(async move {
            let _turn = at_once.acquire().await.unwrap();
            request.reconnect(Reconnect::default()).connect(|| Bot).await.unwrap()
        });
    }
    let kept = connecting.join_all().await;
    assert_eq!(here.lock().unwrap().len(), clients);
    let drained = first.drain(drain.cut_after(60 * SECOND)).await;
    assert_eq!(counts(drained), [0, clients, 0]);
    let everyone = async {
        while there.lock().unwrap().len() < clients {
            sleep(SECOND / 100).await;
        }
    };
    // the hint of the last ones, and a busy machine
    tokio::time::timeout(time + 60 * SECOND, everyone).await.expect("somebody did not come back");
    // nobody came twice, and nobody is lost
    assert_eq!((second.sessions().len(), first.sessions().len()), (clients, 0));
    soon(async {
        // the client knows a moment later
        for kept in &kept {
            while !kept.session().is_open() {
                sleep(SECOND / 100).await;
            }
        }
    })
    .await;
    let mut arrivals = there.lock().unwrap().clone();
    arrivals.sort_unstable();
    container.shutdown(10 * SECOND).await;
    arrivals
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back_at_the_rate_of_the_drain() {
    let (clients, time) = (500, 5 * SECOND);
    let arrivals = deploy(clients, Drain::over(time), time).await;
    // 100 each second; in a storm it would be all of them
    let most = most_within(&arrivals, SECOND);
    assert!(most <= 250, "{most} of {clients} came within one second");
}

#[tokio::test(flavor = "multi_thread")]
async fn hint_spreads_clients_that_are_closed_together() {
    let (clients, spread) = (500, 5 * SECOND);
    let arrivals = deploy(clients, Drain::over(Duration::ZERO).retry_after(SECOND, spread), spread).await;
    let most = most_within(&arrivals, SECOND);
    assert!(most <= 250, "{most} of {clients} came within one second");
}

/// For the figures of the guide, run it alone and with `--nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs 10,000 files and a minute"]
async fn storm_of_5000_clients() {
    let (clients, time) = (5_000, 30 * SECOND);
    let arrivals = deploy(clients, Drain::over(time), time).await;
    let took = *arrivals.last().unwrap() - arrivals[0];
    let [second, tenth] = [SECOND, SECOND / 10].map(|time| most_within(&arrivals, time));
    println!("{clients} clients came back in {took:?}: at most {second} in a second, {tenth} in a tenth of a second");
    let number = |arrival: &Instant| (*arrival - arrivals[0]).as_secs();
    for chunk in arrivals.chunk_by(|a, b| number(a) == number(b)) {
        println!("second {}: {}", number(&chunk[0]), chunk.len());
    }
    // 167 on average
    assert!(second <= 500, "{second} came within one second");
}
