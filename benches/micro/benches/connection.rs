//! One connection in memory, by the public door: what it takes to decode a text message and to have its handler called,
//! for each way a handler can run, and to answer it. No socket, no system call.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use endpoint_runtime::prelude::*;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

/// As many as one read brings, of this length each.
const MESSAGES: usize = 1000;
const SIZE: usize = 20;

/// Room for a batch and its answers in each direction.
const PIPE: usize = 256 << 10;

/// The message that is answered in any case: it tells that all before it were handled.
const LAST: &str = "the end of the batch";
const DONE: &str = "done";

fn answer(message: &str) -> Option<&'static str> {
    (message == LAST).then_some(DONE)
}

#[server_endpoint("/fn")]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_message]
    fn text(&self, message: &str) -> Option<&'static str> {
        answer(message)
    }
}

#[server_endpoint("/async")]
#[derive(Default)]
struct Ready;

impl Ready {
    #[on_message]
    async fn text(&self, message: Text) -> Option<&'static str> {
        answer(&message)
    }
}

#[server_endpoint("/suspends")]
#[derive(Default)]
struct Suspends;

impl Suspends {
    #[on_message]
    async fn text(&self, message: Text) -> Option<&'static str> {
        tokio::task::yield_now().await;
        answer(&message)
    }
}

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    async fn text(&self, message: Text) -> Text {
        message
    }
}

criterion_group!(connection, handlers);
criterion_main!(connection);

fn handlers(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("connection");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let once = server_frame(DONE).len();
    for (name, path, answers) in [
        ("fn", "/fn", once),
        ("async fn that is ready", "/async", once),
        ("async fn that suspends", "/suspends", once),
        ("async fn that echoes", "/echo", MESSAGES * server_frame(LAST).len()),
    ] {
        let mut client = runtime.block_on(connect(path));
        group.bench_function(name, |b| b.iter_custom(|batches| run(&runtime, &mut client, batches, answers)));
    }
}

/// Sends the batch so many times, and waits each time for answers of so many bytes.
fn run(runtime: &Runtime, client: &mut DuplexStream, batches: u64, answers: usize) -> Duration {
    let mut batch = client_frame(&"x".repeat(SIZE)).repeat(MESSAGES - 1);
    batch.extend(client_frame(LAST));
    let mut received = vec![0; answers];
    runtime.block_on(async {
        let start = Instant::now();
        for _ in 0..batches {
            client.write_all(&batch).await.expect("an open connection");
            client.read_exact(&mut received).await.expect("answers");
        }
        let elapsed = start.elapsed();
        let last = if answers < MESSAGES { server_frame(DONE) } else { server_frame(LAST) };
        assert!(received.ends_with(&last), "a wrong response: {received:?}");
        elapsed
    })
}

/// A connection after its opening handshake, served by a container behind hyper.
async fn connect(path: &str) -> DuplexStream {
    // a ping would stand between the answers
    let builder = ServerContainer::builder().ping_interval(None).idle_timeout(None);
    let builder = builder.register::<Plain>().register::<Ready>().register::<Suspends>().register::<Echo>();
    let container = builder.build().expect("a container");
    let (mut client, server) = tokio::io::duplex(PIPE);
    let http = hyper::server::conn::http1::Builder::new();
    tokio::spawn(http.serve_connection(TokioIo::new(server), TowerToHyperService::new(container)).with_upgrades());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.expect("an open connection");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.read_u8().await.expect("an answer"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    client
}

/// A short text as a client sends it.
fn client_frame(text: &str) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | short(text)];
    frame.extend_from_slice(&KEY);
    frame.extend(text.bytes().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A short text as a server sends it.
fn server_frame(text: &str) -> Vec<u8> {
    [&[0x81, short(text)], text.as_bytes()].concat()
}

fn short(text: &str) -> u8 {
    u8::try_from(text.len()).ok().filter(|length| *length <= 125).expect("a short text")
}
