//! Limits of a server's connections: of all, of those without a request, of an address, and how often they come.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Bytes, Listener, ServerBuilder, TlsConfig};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use support::{Client, Log, TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

fn builder() -> ServerBuilder {
    Server::with(ServerContainer::builder().register::<Echo>())
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Everything that comes until the end.
async fn rest(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    // a reset is an end as well
    let _ = soon(stream.read_to_end(&mut read)).await;
    String::from_utf8(read).unwrap()
}

/// What a connection that says nothing is told.
async fn refused(addr: SocketAddr) -> String {
    rest(soon(TcpStream::connect(addr)).await.unwrap()).await
}

/// A connection from another address of this machine.
async fn connect_from(from: &str, addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    soon(socket.connect(addr)).await.unwrap()
}

/// The status of a request on a connection of its own; 0 if there is no answer.
async fn status(addr: SocketAddr) -> u16 {
    let mut stream = soon(TcpStream::connect(addr)).await.unwrap();
    let _ = stream.write_all(REQUEST).await;
    let mut line = [0; 12];
    match soon(stream.read_exact(&mut line)).await {
        Ok(_) => std::str::from_utf8(&line[9..]).unwrap().parse().unwrap(),
        Err(_) => 0,
    }
}

/// Number of connections that are served before one is refused.
async fn served(addr: SocketAddr) -> usize {
    let mut served = 0;
    while status(addr).await == 404 {
        served += 1;
    }
    served
}

/// Waits until a request is answered with 404 again, as soon as the server has seen the end of others.
async fn served_again(addr: SocketAddr) {
    soon(async {
        while status(addr).await != 404 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn connection_over_max_connections_gets_503_before_it_asks() {
    let log = Log::capture();
    let server = TestServer::serving(builder().max_connections(2)).await;
    let first = server.connect("/echo").await;
    let mut second = server.connect("/echo").await;
    // the sessions count, though HTTP has released their sockets
    let answer = refused(server.addr).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 5\r\n") && answer.contains("connection: close\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    let lines = log.lines("a connection was refused");
    assert!(lines.len() == 1 && lines[0].contains("limit=\"max_connections\""), "{lines:?}");
    second.text("still here").await;
    second.expect_text("still here").await;
    drop(first);
    served_again(server.addr).await;
}

#[tokio::test]
async fn answer_arrives_although_the_client_sends_a_large_request() {
    let server = TestServer::serving(builder().max_connections(1)).await;
    let _open = server.connect("/echo").await;
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n{}", "x".repeat(40_000));
    for _ in 0..20 {
        let mut stream = soon(TcpStream::connect(server.addr)).await.unwrap();
        soon(stream.write_all(head.as_bytes())).await.unwrap();
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("try again later"), "{answer:?}");
    }
}

#[tokio::test]
async fn refused_client_that_stays_is_closed_soon() {
    let server = TestServer::serving(builder().max_connections(1)).await;
    let _open = server.connect("/echo").await;
    let started = Instant::now();
    let mut clients = Vec::new();
    // more than are closed gently at a time
    for _ in 0..300 {
        clients.push(soon(TcpStream::connect(server.addr)).await.unwrap());
    }
    let mut answered = 0;
    for client in &mut clients {
        let mut read = String::new();
        let _ = soon(client.read_to_string(&mut read)).await;
        answered += usize::from(read.starts_with("HTTP/1.1 503 "));
    }
    assert!(answered >= 256 || started.elapsed() > Duration::from_secs(1), "{answered}");
    // and our half: a write fails once the server has closed the socket
    soon(async {
        for client in &mut clients {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn upgrade_by_the_fallback_counts_until_its_socket_is_closed() {
    let held = Arc::new(std::sync::Mutex::new(None));
    let holder = held.clone();
    let fallback = tower::service_fn(move |request: Request<Incoming>| {
        let holder = holder.clone();
        async move {
            if request.headers().contains_key("upgrade") {
                tokio::spawn(async move {
                    *holder.lock().unwrap() = Some(hyper::upgrade::on(request).await.unwrap());
                });
                let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "own");
                return Ok::<_, std::convert::Infallible>(response.body(Full::<Bytes>::default()).unwrap());
            }
            Ok(Response::builder().status(404).body(Full::default()).unwrap())
        }
    });
    let server = TestServer::serving(builder().max_connections(1).fallback(fallback)).await;
    let lines = ["GET /own HTTP/1.1", "Host: localhost", "Connection: upgrade", "Upgrade: own"];
    let (answer, _client) = server.request(&lines).await;
    assert_eq!(answer.status, 101);
    soon(async {
        while held.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(refused(server.addr).await.starts_with("HTTP/1.1 503 "));
    drop(held.lock().unwrap().take());
    served_again(server.addr).await;
}

#[tokio::test]
async fn silent_connections_are_bounded_by_max_pending_handshakes() {
    let log = Log::capture();
    let server = TestServer::serving(builder().max_pending_handshakes(3)).await;
    // neither sessions nor connections that have asked once are pending
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(server.connect("/echo").await);
        let (answer, client) = server.request(&["GET / HTTP/1.1", "Host: localhost"]).await;
        assert_eq!(answer.status, 404);
        sessions.push(client);
    }
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut stream = soon(TcpStream::connect(server.addr)).await.unwrap();
        // a head that never ends
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let answer = refused(server.addr).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(log.lines("limit=\"max_pending_handshakes\"").len() == 1);
    silent.pop();
    served_again(server.addr).await;
}

#[tokio::test]
async fn address_over_its_limit_gets_429_while_others_are_served() {
    let log = Log::capture();
    let server = TestServer::serving(builder().max_connections_per_address(2)).await;
    let first = server.connect("/echo").await;
    let _second = server.connect("/echo").await;
    let answer = refused(server.addr).await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 5\r\n") && answer.contains("connection: close\r\n"), "{answer}");
    let lines = log.lines("limit=\"max_connections_per_address\"");
    assert!(lines.len() == 1 && lines[0].contains("127.0.0.1"), "{lines:?}");
    let mut other = Client::upgrade(connect_from("127.0.0.2", server.addr).await, "/echo").await;
    other.text("hello").await;
    other.expect_text("hello").await;
    drop(first);
    served_again(server.addr).await;
}

#[tokio::test]
async fn handshakes_over_a_rate_are_refused() {
    let hour = Duration::from_secs(3600);
    let server = TestServer::serving(builder().handshake_rate_per_address(Rate::new(3, hour))).await;
    assert_eq!(served(server.addr).await, 3);
    assert!(refused(server.addr).await.starts_with("HTTP/1.1 429 "));
    let mut other = connect_from("127.0.0.2", server.addr).await;
    other.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(other).await.starts_with("HTTP/1.1 404 "));

    let server = TestServer::serving(builder().handshake_rate(Rate::new(3, hour))).await;
    assert_eq!(served(server.addr).await, 3);
    for from in ["127.0.0.1", "127.0.0.2"] {
        let answer = rest(connect_from(from, server.addr).await).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}

#[tokio::test]
async fn refusal_behind_tls_is_a_close() {
    let tls = TlsConfig::self_signed(["localhost"]).unwrap();
    let trust = Trust::only(tls.certificate_pem()).unwrap();
    let server = TestServer::serving(builder().tls(tls).max_connections(1)).await;
    let container = ClientContainer::builder().trust(trust).build();
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let heard = support::Journal::default();
    let connect = |heard: &support::Journal| container.request(uri.clone()).connect(support::ear::Ear(heard.clone()));
    let session = soon(connect(&heard)).await.unwrap();
    session.async_remote().send_text("hello");
    heard.expect("hello").await;
    // the session counts, though HTTP has released its socket
    assert_eq!(refused(server.addr).await, "");
    assert!(soon(connect(&heard)).await.is_err());
    session.close();
    soon(async {
        while connect(&heard).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn race_of_clients_never_exceeds_a_limit() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    for per_address in [false, true] {
        let listener = Listener::tcp("127.0.0.1:0").accept_loops(4);
        let builder = builder().quiet().listen(listener);
        let builder = if per_address { builder.max_connections_per_address(10) } else { builder.max_connections(10) };
        let server = builder.build().await.unwrap();
        let (addr, container) = (server.local_addr().unwrap(), server.container().clone());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(server.run_until(async move { drop(stopped.await) }));
        OPEN.store(0, Ordering::SeqCst);
        let clients = (0..100).map(|_| {
            tokio::spawn(async move {
                // a refusal may be a reset
                let mut stream = soon(TcpStream::connect(addr)).await.unwrap();
                let head = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let mut line = [0; 12];
                let read = soon(stream.read_exact(&mut line)).await;
                (read.is_ok() && line.ends_with(b"101")).then_some(stream)
            })
        });
        let mut open = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            open.extend(soon(client).await.unwrap());
        }
        assert_eq!(open.len(), 10, "per address: {per_address}");
        assert_eq!(container.sessions().len(), 10);
        drop(open);
        served_again(addr).await;
        drop(stop);
        soon(running).await.unwrap().unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn peers_of_a_unix_socket_count_as_connections_and_not_by_address() {
    let path = std::env::temp_dir().join(format!("endpoint-limits-{}.sock", std::process::id()));
    let builder = builder().listen(Listener::unix(&path)).max_connections(2).max_connections_per_address(1);
    let _server = TestServer::serving(builder).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = soon(tokio::net::UnixStream::connect(&path)).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut line = [0; 12];
        soon(stream.read_exact(&mut line)).await.unwrap();
        assert_eq!(&line, b"HTTP/1.1 404");
        held.push(stream);
    }
    let mut third = soon(tokio::net::UnixStream::connect(&path)).await.unwrap();
    let mut answer = String::new();
    soon(third.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

// ---- out of files ----

const ROLE: &str = "ENDPOINT_CONNECTION_LIMITS_ROLE";

/// A server in a process of its own, with few files. Does nothing in the test's own process.
#[test]
fn server_with_few_files() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = builder().quiet().bind("127.0.0.1:0").await.unwrap();
        println!("bound to {}", server.local_addr().unwrap());
        server.run().await.unwrap();
    });
}

#[cfg(unix)]
#[tokio::test]
async fn server_out_of_files_serves_again_when_some_are_closed() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" --exact server_with_few_files --nocapture"]);
    command.arg(std::env::current_exe().unwrap()).env(ROLE, "few").kill_on_drop(true);
    let mut program = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let addr: SocketAddr = soon(async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it has ended");
            if let Some((_, addr)) = line.split_once("bound to ") {
                return addr.trim().parse().unwrap();
            }
        }
    })
    .await;
    // more than it has files: the rest waits to be accepted
    let mut waiting = Vec::new();
    for _ in 0..60 {
        waiting.push(soon(TcpStream::connect(addr)).await.unwrap());
    }
    let mut last = waiting.pop().unwrap();
    last.write_all(REQUEST).await.unwrap();
    let mut line = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(300), last.read_exact(&mut line)).await;
    assert!(early.is_err(), "60 connections and more fit into 40 files");
    drop(waiting);
    soon(last.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 404");
}
