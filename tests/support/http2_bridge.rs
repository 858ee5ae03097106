//! A bridge from WebSocket over HTTP/1.1 to WebSocket over HTTP/2, for clients that speak HTTP/1.1 alone, such as the Autobahn
//! test suite. Each client gets a stream; all share a connection, and a new one is made when it has ended.
//!
//! `cargo run --example http2_bridge -- --addr 127.0.0.1:0 --to 127.0.0.1:9001`

#[path = "mod.rs"]
mod support;

use std::net::SocketAddr;

use support::http2;
use tokio::net::TcpListener;

fn usage() -> ! {
    eprintln!("usage: http2_bridge --to HOST:PORT [--addr HOST:PORT]");
    std::process::exit(2)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut addr, mut to) = ("127.0.0.1:0".to_owned(), None::<SocketAddr>);
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("--addr", Some(value)) => addr = value,
            ("--to", Some(value)) => to = Some(value.parse().unwrap_or_else(|_| usage())),
            _ => usage(),
        }
    }
    let to = to.unwrap_or_else(|| usage());
    let listener = TcpListener::bind(addr).await?;
    println!("endpoint: ws://{}/ws", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            // a client that leaves is no error
            let _ = http2::shared(to).await.serve(client).await;
        });
    }
}
