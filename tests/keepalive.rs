//! Whether the kernel looks after a connection on which nobody says anything, as /proc/net/tcp shows it.
#![cfg(target_os = "linux")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use support::{Client, TestServer, soon};

#[server_endpoint("/idle")]
#[derive(Default)]
struct Idle;

#[client_endpoint]
struct Listener;

/// An address as it stands there: the bytes of an IPv4 address are those of a number in memory.
fn hex(addr: SocketAddr) -> String {
    let SocketAddr::V4(addr) = addr else { panic!("{addr} is not an IPv4 address") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port())
}

/// The timer of the socket at `local` that is connected to `remote`, and the seconds until it acts. Data that waits for
/// its acknowledgement has another timer, so that is waited for.
async fn timer(local: SocketAddr, remote: SocketAddr) -> (&'static str, f64) {
    soon(async {
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let line =
                lines.into_iter().find(|line| line[1] == hex(local) && line[2] == hex(remote)).expect("a socket");
            let (kind, ticks) = line[5].split_once(':').unwrap();
            let seconds = u64::from_str_radix(ticks, 16).unwrap() as f64 / 100.0;
            match kind {
                "00" => return ("none", seconds),
                "02" => return ("keepalive", seconds),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn accepted_socket_is_probed_after_a_minute() {
    let server = TestServer::of::<Idle>().await;
    let client = Client::connect(server.addr, "/idle").await;
    let (kind, seconds) = timer(server.addr, client.stream.local_addr().unwrap()).await;
    assert!(kind == "keepalive" && (30.0..61.0).contains(&seconds), "{kind} {seconds}");
}

#[tokio::test]
async fn socket_of_a_client_is_probed_after_a_minute() {
    let server = TestServer::of::<Idle>().await;
    let session = ClientContainer::new().connect(Listener, format!("ws://{}/idle", server.addr)).await.unwrap();
    let (kind, seconds) = timer(session.local_addr().unwrap(), server.addr).await;
    assert!(kind == "keepalive" && (30.0..61.0).contains(&seconds), "{kind} {seconds}");
}
