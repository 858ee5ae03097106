//! Attacks on a server as a whole: requests that two parsers read differently, junk in heads, connections that never get to
//! the point, floods, and races for the last place. `docs/security.md` lists these tests and those of single limits.

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Bytes, ProxyProtocol, Rate, ServerBuilder, TlsConfig};
use flate2::{Compress, Compression, FlushCompress};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use support::{BINARY, CLOSE, Client, Frame, Journal, PING, PONG, TEXT, TestServer, frame, http2, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, interval};

/// Echoes, and notes what it hears.
#[server_endpoint("/echo", compression = on)]
struct Echo(Journal);

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        self.0.note(format!("message {text}"));
        text.to_owned()
    }

    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }
}

fn builder(journal: &Journal) -> ServerBuilder {
    let journal = journal.clone();
    Server::with(
        ServerContainer::builder()
            .allowed_hosts(["a.org", "127.0.0.1", "localhost"])
            .endpoint_with(move |_| Ok(Echo(journal.clone()))),
    )
}

/// A server whose pages note their requests and the bytes of their bodies.
async fn server_with_pages() -> (TestServer, Journal) {
    let journal = Journal::default();
    let noted = journal.clone();
    let pages = tower::service_fn(move |request: Request<Incoming>| {
        let journal = noted.clone();
        async move {
            let (path, size) = (request.uri().path().to_owned(), request.into_body().collect().await);
            let size = size.map_or_else(|_| "a bad body".to_owned(), |body| format!("{} bytes", body.to_bytes().len()));
            journal.note(format!("page {path}, {size}"));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"page"))))
        }
    });
    (TestServer::serving(builder(&journal).fallback(pages)).await, journal)
}

/// A request that must not be served if it was hidden in another one. It ends the connection.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n";

/// An opening request with more header lines.
fn opening(more: &str) -> String {
    format!(
        "GET /echo HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Sends `bytes`, and reads until the server ends the connection.
async fn exchange(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let (mut reading, mut writing) = soon(TcpStream::connect(addr)).await.unwrap().into_split();
    let mut answer = Vec::new();
    // a server that has refused a request does not read the rest of it, and resets the connection
    let write = async { drop(soon(writing.write_all(bytes)).await) };
    let read = async { drop(soon(reading.read_to_end(&mut answer)).await) };
    tokio::join!(write, read);
    answer
}

/// The statuses of the answers to `bytes`, and what the server did until the connection ended.
async fn outcome(server: &TestServer, journal: &Journal, bytes: &[u8]) -> (Vec<u16>, Vec<String>) {
    let answer = exchange(server.addr, bytes).await;
    let answer = String::from_utf8_lossy(&answer);
    let statuses = answer.match_indices("HTTP/1.1 ").map(|(at, line)| answer[at + line.len()..][..3].parse().unwrap());
    (statuses.collect(), journal.rest())
}

async fn is_alive(server: &TestServer, journal: &Journal) {
    let mut client = server.connect("/echo").await;
    client.text("alive").await;
    client.expect_text("alive").await;
    assert_eq!(journal.rest(), ["message alive"]);
}

// ---- smuggling ----

#[tokio::test]
async fn nothing_behind_an_ambiguous_request_is_a_request_or_a_message() {
    let (server, journal) = server_with_pages().await;
    let length = HIDDEN.len();
    let page = |lines: &str, body: &str| format!("POST /page HTTP/1.1\r\nHost: a.org\r\n{lines}\r\n{body}");
    let get = |line: &str, lines: &str| format!("{line}\r\n{lines}\r\n");
    for (case, attack) in [
        // two lengths, or one that two parsers read differently
        ("two lengths", page("Content-Length: 0\r\nContent-Length: 5\r\n", "")),
        ("list of lengths", page("Content-Length: 0, 5\r\n", "")),
        ("length with a sign", page("Content-Length: +0\r\n", "")),
        ("negative length", page("Content-Length: -1\r\n", "")),
        ("hexadecimal length", page("Content-Length: 0x0\r\n", "")),
        ("length that overflows", page("Content-Length: 18446744073709551616\r\n", "")),
        ("empty length", page("Content-Length:\r\n", "")),
        ("space before the colon", page("Content-Length : 0\r\n", "")),
        ("tab before the colon", page("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n")),
        ("folded header", page("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")),
        ("folded first header", get("GET /page HTTP/1.1", " Host: a.org\r\nHost: a.org\r\n")),
        ("unknown coding", page("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("chunked is not the last coding", page("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("chunked in quotes", page("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n")),
        (
            "coding in HTTP/1.0",
            "POST /page HTTP/1.0\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        // the end of a line
        ("CR in a value", page("X-Junk: a\rContent-Length: 5\r\n", "")),
        ("NUL in a value", page("X-Junk: a\0b\r\n", "")),
        ("CR before the line's end", page("X-Junk: a\r\r\n", "")),
        ("space in the target", get("GET /page HTTP/1.1 /x HTTP/1.1", "Host: a.org\r\n")),
        ("tab in the target", get("GET /pa\tge HTTP/1.1", "Host: a.org\r\n")),
        ("control character in the target", get("GET /pa\x01ge HTTP/1.1", "Host: a.org\r\n")),
        // whose request it is
        ("two hosts", get("GET /page HTTP/1.1", "Host: a.org\r\nHost: b.org\r\n")),
        ("list of hosts", get("GET /page HTTP/1.1", "Host: a.org, b.org\r\n")),
        ("host with a user", get("GET /page HTTP/1.1", "Host: b.org@a.org\r\n")),
        ("host with a path", get("GET /page HTTP/1.1", "Host: a.org/x\r\n")),
        ("no host", get("GET /page HTTP/1.1", "X: y\r\n")),
        ("absolute form of another host", get("GET http://evil.org/page HTTP/1.1", "Host: a.org\r\n")),
    ] {
        let (statuses, did) = outcome(&server, &journal, format!("{attack}{HIDDEN}").as_bytes()).await;
        let kind = (case, &statuses, &did);
        match case {
            // these say where they end, so the next one is a request of the client's own
            "two hosts"
            | "list of hosts"
            | "host with a user"
            | "host with a path"
            | "no host"
            | "absolute form of another host" => {
                let status = if case.starts_with("absolute") { 421 } else { 400 };
                assert_eq!(
                    (&*statuses, &*did),
                    (&[status, 200][..], &["page /hidden, 0 bytes".to_owned()][..]),
                    "{case}"
                );
            }
            _ => assert!(statuses == [400] && did.is_empty(), "{kind:?}"),
        }
    }
    // bodies: what they contain is no request, whoever is asked
    for (case, attack, statuses, did) in [
        (
            "body of a length",
            page(&format!("Content-Length: {length}\r\n"), HIDDEN),
            &[200][..],
            format!("{length} bytes"),
        ),
        (
            "chunk",
            page("Transfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n")),
            &[200],
            format!("{length} bytes"),
        ),
    ] {
        let last = HIDDEN.replace("/hidden", "/last");
        let outcome = outcome(&server, &journal, format!("{attack}{last}").as_bytes()).await;
        let expected = [format!("page /page, {did}"), "page /last, 0 bytes".to_owned()];
        assert_eq!(outcome, ([statuses, &[200]].concat(), expected.to_vec()), "{case}");
    }
    // a length beside chunks: the chunks count, and the connection ends (RFC 9112 §6.1)
    let chunk = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
    ] {
        let attack = format!("{}{HIDDEN}", page(lines, &chunk));
        let outcome = outcome(&server, &journal, attack.as_bytes()).await;
        assert_eq!(outcome, (vec![200], vec![format!("page /page, {length} bytes")]), "{lines}");
    }
    // a chunk whose size nobody should believe
    for size in ["-1", "0x5", "fffffffffffffffff", "5 5", "", "g"] {
        let attack = page("Transfer-Encoding: chunked\r\n", &format!("{size}\r\nabcde\r\n0\r\n\r\n{HIDDEN}"));
        let (_, did) = outcome(&server, &journal, attack.as_bytes()).await;
        assert_eq!(did, ["page /page, a bad body"], "{size:?}");
    }
    is_alive(&server, &journal).await;
}

#[tokio::test]
async fn body_of_an_opening_request_is_neither_a_request_nor_frames() {
    let (server, journal) = server_with_pages().await;
    let message = frame(0x80 | TEXT, b"hidden");
    for hidden in [HIDDEN.as_bytes(), &message] {
        let (length, last) = (hidden.len(), HIDDEN.replace("/hidden", "/last"));
        let chunk = [format!("{length:x}\r\n").as_bytes(), hidden, b"\r\n0\r\n\r\n"].concat();
        for (lines, body) in [
            (format!("Content-Length: {length}\r\n"), hidden.to_vec()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunk.clone()),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(), chunk.clone()),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned(), chunk.clone()),
        ] {
            let bytes = [opening(&lines).as_bytes(), &body, last.as_bytes()].concat();
            let (statuses, did) = outcome(&server, &journal, &bytes).await;
            // the connection may end with the refusal, because its body was not wanted
            match &*statuses {
                [400] => assert_eq!(did, [""; 0], "{lines}"),
                [400, 200] => assert_eq!(did, ["page /last, 0 bytes"], "{lines}"),
                _ => panic!("{lines}: {statuses:?} {did:?}"),
            }
        }
        // refused, and what follows is not of a session
        let refused = opening("").replace("Version: 13", "Version: 8");
        let (statuses, did) = outcome(&server, &journal, &[refused.as_bytes(), &message].concat()).await;
        assert_eq!((&*statuses, did.len()), (&[426, 400][..], 0));
    }
    // opened, and what follows is not a request
    let answer = exchange(server.addr, format!("{}{HIDDEN}", opening("")).as_bytes()).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert_eq!(answer[end..][..4][..1], [0x88], "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(answer[end + 2..][..2], 1002_u16.to_be_bytes());
    assert_eq!(journal.rest(), [""; 0]);
    is_alive(&server, &journal).await;
}

// ---- junk ----

#[tokio::test]
async fn junk_in_a_head_is_answered_with_4xx_and_ends_the_connection() {
    let (server, journal) = server_with_pages().await;
    let mut journal_of_pages = Vec::new();
    for (case, lines, status) in [
        ("NUL", "X: a\0b\r\n".to_owned(), 400),
        ("CR", "X: a\rb\r\n".to_owned(), 400),
        ("obs-fold", "X: a\r\n b\r\n".to_owned(), 400),
        ("escape", "X: \x1b[31m\r\n".to_owned(), 400),
        ("delete", "X: \x7f\r\n".to_owned(), 400),
        ("name with a space", "X Y: a\r\n".to_owned(), 400),
        ("name with a bracket", "X(: a\r\n".to_owned(), 400),
        ("name beyond ASCII", "X\u{e9}: a\r\n".to_owned(), 400),
        ("empty name", ": a\r\n".to_owned(), 400),
        ("no colon", "X\r\n".to_owned(), 400),
        ("10,000 headers", (0..10_000).map(|i| format!("X-{i}: a\r\n")).collect(), 431),
        ("10,000 headers of one name", "X: a\r\n".repeat(10_000), 431),
        ("line of 1 MiB", format!("X: {}\r\n", "a".repeat(1 << 20)), 431),
        ("name of 1 MiB", format!("{}: a\r\n", "a".repeat(1 << 20)), 431),
        ("cookies of 1 MiB", format!("Cookie: a={}\r\n", "b".repeat(1000)).repeat(1 << 10), 431),
    ] {
        for head in [opening(&lines), format!("GET /page HTTP/1.1\r\nHost: a.org\r\n{lines}\r\n")] {
            let (statuses, did) = outcome(&server, &journal, format!("{head}{HIDDEN}").as_bytes()).await;
            assert_eq!(statuses, [status], "{case}");
            journal_of_pages.extend(did);
        }
    }
    assert_eq!(journal_of_pages, [""; 0]);
    // one that is read to its end is refused, and the next request is another one
    let long = opening(&format!("Sec-WebSocket-Protocol: {}\r\n", "a, ".repeat(10_000)));
    let (statuses, did) = outcome(&server, &journal, format!("{long}{HIDDEN}").as_bytes()).await;
    assert_eq!((&*statuses, &*did), (&[431, 200][..], &["page /hidden, 0 bytes".to_owned()][..]));
    is_alive(&server, &journal).await;
}

// ---- slowloris ----

/// Sends a byte each second, again from the start when all were sent, until the server ends the connection. Returns the
/// seconds.
async fn drip(addr: SocketAddr, first: &[u8], bytes: &[u8]) -> u64 {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(first).await.unwrap();
    let (started, mut second, mut buffer) = (Instant::now(), interval(Duration::from_secs(1)), [0; 1024]);
    for byte in bytes.iter().cycle().take(300) {
        second.tick().await;
        if stream.write_all(&[*byte]).await.is_err() {
            return started.elapsed().as_secs();
        }
        // until the server has seen it
        tokio::task::yield_now().await;
        loop {
            match stream.try_read(&mut buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => return started.elapsed().as_secs(),
            }
        }
    }
    panic!("the connection is still open after {:?}", started.elapsed());
}

/// The clock stands still while anybody has something to do, and jumps when nobody has.
#[tokio::test(start_paused = true)]
async fn a_byte_each_second_keeps_no_stage_of_a_connection_open() {
    let journal = Journal::default();
    let tls = TlsConfig::self_signed(["localhost"]).unwrap().handshake_timeout(Duration::from_secs(5));
    let plain = TestServer::serving(builder(&journal)).await;
    let secure = TestServer::serving(builder(&journal).tls(tls)).await;
    let proxied = builder(&journal).trusted_proxies(["127.0.0.1"]).proxy_protocol(ProxyProtocol::Required);
    let proxied = TestServer::serving(proxied).await;
    // a record that announces 200 bytes of a client hello
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 189]].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let header_2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x01\0"[..], &[0; 256]].concat();
    for (stage, server, first, bytes, expected) in [
        ("request line", &plain, &b""[..], &b"GET /echo"[..], 29..=31),
        ("header", &plain, b"GET /echo HTTP/1.1\r\n", b"X: y\r\n", 29..=31),
        ("empty lines", &plain, b"", b"\r\n", 29..=31),
        ("second request", &plain, b"GET /x HTTP/1.1\r\nHost: a.org\r\n\r\n", b"GET /echo", 29..=31),
        ("HTTP/2 preface", &plain, b"", &preface[..23], 22..=31),
        ("HTTP/2 settings", &plain, &preface[..24], &[0, 0, 100, 4, 0, 0, 0, 0, 0], 59..=73),
        ("TLS handshake", &secure, b"", &hello, 4..=6),
        ("PROXY header, version 1", &proxied, b"", b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 44300000000", 29..=31),
        ("PROXY header, version 2", &proxied, b"", &header_2, 29..=31),
        ("request behind a PROXY header", &proxied, b"PROXY UNKNOWN\r\n", b"GET /echo", 29..=31),
    ] {
        let seconds = drip(server.addr, first, bytes).await;
        assert!(expected.contains(&seconds), "{stage}: {seconds} s");
    }
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn silent_connections_of_one_address_do_not_take_the_places_of_others() {
    let journal = Journal::default();
    let limits = builder(&journal).max_pending_handshakes(20).max_connections_per_address(10);
    let server = TestServer::serving(limits).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect_from([127, 0, 0, 2], server.addr).await.unwrap());
    }
    // the server has decided about the last one
    let mut answer = Vec::new();
    let _ = soon(silent[39].read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 429 "));
    for _ in 0..9 {
        is_alive(&server, &journal).await;
    }
}

// ---- floods ----

async fn connect_from(from: [u8; 4], addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    soon(socket.connect(addr)).await
}

/// The 99th percentile of some round trips.
async fn p99(client: &mut Client, journal: &Journal) -> Duration {
    let mut times = Vec::new();
    for _ in 0..1000 {
        let started = std::time::Instant::now();
        client.text("ping").await;
        client.expect_text("ping").await;
        times.push(started.elapsed());
    }
    journal.rest();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// What clients of a flood saw so far.
#[derive(Default)]
struct Flood {
    stop: AtomicBool,
    attempts: AtomicUsize,
    refused: AtomicUsize,
}

impl Flood {
    /// Connects, asks and leaves again, as fast as it goes, from 127.0.0.2, until it is told to stop.
    fn run(&self, addr: SocketAddr) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !self.stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = connect_from([127, 0, 0, 2], addr).await else { continue };
                let _ = stream.write_all(opening("").as_bytes()).await;
                let mut line = [0; 12];
                let read = soon(stream.read_exact(&mut line)).await;
                self.attempts.fetch_add(1, Ordering::Relaxed);
                self.refused.fetch_add(usize::from(read.is_err() || line.ends_with(b"429")), Ordering::Relaxed);
                // no port waits for the last packets
                stream.set_zero_linger().unwrap();
            }
        });
    }
}

/// Room for what else a busy machine does.
const NOISE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_from_one_address_does_not_delay_another_one() {
    let journal = Journal::default();
    let limits = builder(&journal).max_connections_per_address(50).handshake_rate_per_address(Rate::per_second(20));
    let server = TestServer::serving(limits).await;
    let addr = server.addr;
    let mut client = server.connect("/echo").await;
    let mut found = Vec::new();
    // what else the machine does may spoil one measurement, not three
    for _ in 0..3 {
        let alone = p99(&mut client, &journal).await;
        let flood = Arc::new(Flood::default());
        let flooders = [flood.clone(), flood.clone()].map(|flood| std::thread::spawn(move || flood.run(addr)));
        soon(async {
            while flood.attempts.load(Ordering::Relaxed) < 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let flooded = p99(&mut client, &journal).await;
        flood.stop.store(true, Ordering::Relaxed);
        flooders.into_iter().for_each(|flooder| flooder.join().unwrap());
        let [attempts, refused] = [&flood.attempts, &flood.refused].map(|count| count.load(Ordering::Relaxed));
        assert!(refused >= attempts / 2, "{refused} of {attempts} were refused");
        found.push((alone, flooded, attempts));
        if flooded <= 2 * alone + NOISE {
            return;
        }
    }
    panic!("p99 alone and in the flood, and connections: {found:?}");
}

/// A frame of HTTP/2.
fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_http2_frames_delay_no_other_client_and_are_not_kept() {
    let journal = Journal::default();
    let server = TestServer::serving(builder(&journal)).await;
    let mut witness = server.connect("/echo").await;
    // an opening request: literals without an index (RFC 7541 §6.2.2)
    let head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/echo"),
        (":authority", "a.org"),
        ("sec-websocket-version", "13"),
    ];
    let mut opening = Vec::new();
    for (name, value) in head {
        opening.extend([0, name.len() as u8]);
        opening.extend(name.bytes());
        opening.push(value.len() as u8);
        opening.extend(value.bytes());
    }
    let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &http2_frame(4, 0, 0, b""), &http2_frame(1, 4, 1, &opening)]
        .concat();
    for (name, frame, mib, outcome) in [
        ("PING", http2_frame(6, 0, 0, &[0; 8]), 16, "stalls"),
        ("SETTINGS", http2_frame(4, 0, 0, b""), 16, "stalls"),
        ("WINDOW_UPDATE", http2_frame(8, 0, 0, &[0, 0, 0, 1]), 2, "is read"),
        ("WINDOW_UPDATE of a stream", http2_frame(8, 0, 1, &[0, 0, 0, 1]), 2, "is read"),
        ("PRIORITY", http2_frame(2, 0, 3, &[0, 0, 0, 0, 16]), 2, "is read"),
        ("empty DATA", http2_frame(0, 0, 1, b""), 16, "ends"),
        ("padded empty DATA", http2_frame(0, 8, 1, &[0]), 16, "ends"),
        ("unknown", http2_frame(0xfa, 0, 0, b"junk"), 2, "is read"),
    ] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = soon(socket.connect(server.addr)).await.unwrap();
        stream.write_all(&begin).await.unwrap();
        let flood = frame.repeat((mib << 20) / frame.len());
        // the answers fill what the kernel holds, and then the server reads no more; others are ended by the h2 crate
        let flooding = async {
            let mut written = 0;
            while written < flood.len() {
                match tokio::time::timeout(Duration::from_secs(1), stream.write(&flood[written..])).await {
                    Ok(Ok(count)) => written += count,
                    Ok(Err(_)) => return "ends",
                    Err(_) => return "stalls",
                }
            }
            "is read"
        };
        let echoing = async {
            for _ in 0..100 {
                witness.text("ping").await;
                witness.expect_text("ping").await;
            }
        };
        let (came, ()) = tokio::join!(flooding, echoing);
        assert_eq!(came, outcome, "{name}");
        witness.text("still there").await;
        witness.expect_text("still there").await;
        journal.rest();
    }
    soon(async {
        while server.container.sessions().len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

// ---- races ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caps_hold_for_a_race_of_connections_and_streams() {
    const THREADS: usize = 8;
    const EACH: usize = 30;
    const TOTAL: usize = 60;
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().max_sessions(TOTAL).endpoint_with(move |_| Ok(Echo(own.clone())));
    let server = TestServer::with(container).await;
    let addr = server.addr;
    for round in 0..2 {
        let admitted = Arc::new(AtomicUsize::new(0));
        let racers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let admitted = admitted.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let count = |status: u16, accepted| {
                        assert!(status == accepted || status == 503, "{status}");
                        admitted.fetch_add(usize::from(status == accepted), Ordering::Relaxed);
                    };
                    let (mut clients, mut streams) = (Vec::new(), Vec::new());
                    runtime.block_on(async {
                        if thread % 2 == 0 {
                            for _ in 0..EACH {
                                let (answer, client) = Client::try_connect(addr, "/echo", &[]).await;
                                count(answer.status, 101);
                                clients.push(client);
                            }
                        } else {
                            let connection = http2::Connection::open(addr).await;
                            for _ in 0..EACH {
                                let (response, stream) = connection.connect("/echo", &[]).await;
                                count(response.status().as_u16(), 200);
                                streams.push((response, stream));
                            }
                        }
                    });
                    // the runtime lives as long as its sockets
                    (runtime, clients, streams)
                })
            })
            .collect();
        let racers: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        assert_eq!(admitted.load(Ordering::Relaxed), TOTAL, "round {round}");
        assert_eq!(server.container.sessions().len(), TOTAL);
        for (runtime, clients, streams) in racers {
            drop((clients, streams));
            runtime.shutdown_background();
        }
        // their places are free for the next round
        soon(async {
            while !server.container.sessions().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        soon(async { while Client::try_connect(addr, "/echo", &[]).await.0.status != 101 {} }).await;
        soon(async {
            while !server.container.sessions().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

// ---- bombs ----

#[tokio::test]
async fn bombs_of_many_clients_hold_no_more_than_the_receive_budget() {
    const BUDGET: usize = 4 << 20;
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().receive_budget(BUDGET).endpoint_with(move |_| Ok(Echo(own.clone())));
    let server = TestServer::with(container).await;
    let (mut stream, mut bomb) = (Compress::new(Compression::best(), false), Vec::with_capacity(1 << 16));
    stream.compress_vec(&vec![0; (1 << 20) - 1000], &mut bomb, FlushCompress::Sync).unwrap();
    // the beginning of a message: it keeps what it has become
    let bomb = frame(BINARY | 0x40, &bomb);
    assert!(bomb.len() < 4 << 10);
    let mut clients = Vec::new();
    for _ in 0..30 {
        let deflate = ["Sec-WebSocket-Extensions: permessage-deflate"];
        let mut client = Client::connect_with(server.addr, "/echo", &deflate).await;
        client.send_raw(&bomb).await;
        clients.push(client);
        assert!(server.container.unfinished_bytes() <= BUDGET);
    }
    soon(async {
        while server.container.sessions().len() > 4 {
            assert!(server.container.unfinished_bytes() <= BUDGET);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut held = Vec::new();
    for mut client in clients {
        // a session that has ended takes no more
        let _ = client.stream.write_all(&frame(0x80 | PING, b"")).await;
        match client.frame().await.unwrap() {
            Frame { opcode: PONG, .. } => held.push(client),
            Frame { opcode: CLOSE, payload, .. } => assert_eq!(payload[..2], 1013_u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    assert!((3..=4).contains(&held.len()), "{} are held", held.len());
    is_alive(&server, &journal).await;
    drop(held);
    soon(async {
        while server.container.unfinished_bytes() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

// ---- the document ----

/// `docs/security.md` names tests as `file::name`, unit tests as `crate::name`.
#[test]
fn every_test_named_in_the_document_exists() {
    fn sources(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let names: Vec<_> = document.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect();
    // types of the API are no tests
    let names: Vec<_> = names.into_iter().filter(|(file, _)| !file.starts_with(char::is_uppercase)).collect();
    assert!(names.len() > 80, "{} names", names.len());
    for (file, name) in names {
        let mut text = String::new();
        if file.starts_with("endpoint-") {
            sources(&root.join(file).join("src"), &mut text);
        } else if name != "name" {
            let path = tests.join(file).with_extension("rs");
            text = std::fs::read_to_string(path).unwrap_or_else(|_| panic!("{file}::{name}: there is no such file"));
        }
        assert!(name == "name" || text.contains(&format!("fn {name}(")), "{file}::{name}: there is no such test");
    }
}
