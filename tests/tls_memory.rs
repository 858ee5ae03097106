//! What an idle session behind TLS costs. A binary of its own, because it measures the whole process.

mod support;

use endpoint_runtime::prelude::*;
use support::authority::{client_config, connect, upgrade};
use support::{TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

const SESSIONS: usize = 500;

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line with the size");
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn idle_session_behind_tls_owns_no_record_buffer() {
    let tls = TlsConfig::self_signed(["localhost"]).unwrap();
    let server =
        TestServer::serving(Server::with(ServerContainer::builder().register::<Echo>()).tls(tls.clone())).await;
    let config = std::sync::Arc::new(client_config(&tls.certificate_pem(), None, &[&TLS12, &TLS13]));
    let mut kept: Vec<TcpStream> = Vec::with_capacity(2 * SESSIONS);
    let (mut before, mut each) = (0, 0);
    for number in 1..=2 * SESSIONS {
        let mut stream = connect(config.clone(), &server, "localhost").await.unwrap();
        soon(stream.write_all(&[&*upgrade("/echo"), &frame(0x81, b"hello")].concat())).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"\x81\x05hello") {
            assert!(soon(stream.read_buf(&mut came)).await.unwrap() > 0);
        }
        // the socket stays open; the client's half of TLS is not measured
        kept.push(stream.into_inner().0);
        if number == SESSIONS {
            // everything was there once
            before = resident();
        }
    }
    if before > 0 {
        each = resident().saturating_sub(before) / SESSIONS;
    }
    println!("{each} bytes for each session");
    assert_eq!(server.container.sessions().len(), 2 * SESSIONS);
    // 5 KiB, and what a program without optimisation and the sockets of the client take; 9.5 KiB with a buffer
    assert!((2_000..7_000).contains(&each), "{each} bytes for each session");
}
