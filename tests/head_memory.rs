//! Sessions with large heads must not hold more than the limit of a head. A binary of its own, because it measures the
//! whole process.

mod support;

use endpoint_runtime::prelude::*;
use support::{TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SESSIONS: usize = 100;

#[server_endpoint("/idle")]
#[derive(Default)]
struct Idle;

/// Bytes of memory that the process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line with the size");
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// A connection whose request has a header of `filler` bytes; whether a session was opened. The server may hang up in
/// the middle.
async fn ask(server: &TestServer, filler: usize) -> (bool, TcpStream) {
    let request = format!(
        "GET /idle HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Filler: {}\r\n\r\n",
        server.addr,
        "x".repeat(filler)
    );
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let _ = soon(stream.write_all(request.as_bytes())).await;
    let mut answer = [0; 12];
    let answered = soon(stream.read_exact(&mut answer)).await.is_ok();
    (answered && answer == *b"HTTP/1.1 101", stream)
}

#[tokio::test]
async fn session_holds_no_more_than_the_limit_of_a_head() {
    let server = TestServer::of::<Idle>().await;
    // everything was there once before anything is measured
    let mut kept = Vec::with_capacity(2 * SESSIONS);
    for filler in [100, 380_000, 15_000] {
        kept.push(ask(&server, filler).await);
    }
    let (before, mut opened) = (resident(), 0);
    for filler in [380_000, 15_000] {
        for _ in 0..SESSIONS {
            kept.push(ask(&server, filler).await);
            opened += usize::from(kept.last().is_some_and(|(opened, _)| *opened));
        }
    }
    let each = resident().saturating_sub(before) / opened;
    println!("{each} bytes for each of {opened} sessions");
    // 16 KiB and the session itself
    assert!(opened >= SESSIONS && each < 20 << 10, "{each} bytes for each of {opened} sessions");
}
