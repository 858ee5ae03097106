//! What a broadcast costs: a burst of them beside the same messages sent to one session after the other, and what
//! another connection notices of a peer that floods a room. Everything in one process, over loopback.
//!
//! Prints tables; it measures, and judges nothing. Ratios are of one run, so that they mean something on a machine that
//! does other things, too.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;
use tokio::io::Interest;
use tokio::runtime::{Builder, Runtime};

const MESSAGES: usize = 100;
const SIZE: usize = 100;

/// Of what the server sends for one message.
const FRAME: usize = 2 + SIZE;

const ROUNDS: usize = 15;

#[server_endpoint("/listen")]
#[derive(Default)]
struct Listener;

impl Listener {
    #[on_open]
    fn open(&self, session: &Session) {
        session.join("room");
    }
}

/// Passes messages on to everybody at `/listen`.
#[server_endpoint("/flood")]
#[derive(Default)]
struct Flood;

impl Flood {
    #[on_message]
    fn text(&self, message: Text, session: &Session) {
        session.room("room").async_remote().send_text(message);
    }
}

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, message: &str) -> String {
        message.to_owned()
    }
}

struct Served {
    addr: SocketAddr,
    container: ServerContainer,
    runtime: Option<Runtime>,
    driver: Option<JoinHandle<()>>,
    stop: Arc<tokio::sync::Notify>,
    handle: tokio::runtime::Handle,
}

impl Served {
    /// With so many threads; one is a current-thread runtime.
    fn with(threads: usize) -> Self {
        let runtime = match threads {
            1 => Builder::new_current_thread().enable_all().build(),
            threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        }
        .expect("a runtime");
        let container = ServerContainer::builder()
            .discover()
            // counted they would be a message too much
            .ping_interval(None)
            .idle_timeout(None)
            .send_queue(10_000, 16 << 20);
        let server = runtime.block_on(Server::with(container).bind("127.0.0.1:0")).expect("a port");
        let (addr, container) = (server.local_addr().expect("a port"), server.container().clone());
        let (stop, handle) = (Arc::new(tokio::sync::Notify::new()), runtime.handle().clone());
        let stopped = stop.clone();
        let run = async move { drop(server.run_until(async move { stopped.notified().await }).await) };
        if threads > 1 {
            handle.spawn(run);
            return Self { addr, container, runtime: Some(runtime), driver: None, stop, handle };
        }
        let driver = std::thread::spawn(move || runtime.block_on(run));
        Self { addr, container, runtime: None, driver: Some(driver), stop, handle }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(driver) = self.driver.take() {
            driver.join().expect("the server");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn open(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a handshake");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("a small message"), 0, 0, 0, 0];
    frame.extend_from_slice(text);
    frame
}

/// Clients that read; one thread serves all of them.
struct Listeners {
    expect: tokio::sync::mpsc::UnboundedSender<usize>,
    done: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    fn new(addr: SocketAddr, count: usize) -> Self {
        let streams: Vec<TcpStream> = (0..count).map(|_| open(addr, "/listen")).collect();
        let (expect, mut expected) = tokio::sync::mpsc::unbounded_channel::<usize>();
        let (tell, done) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let (came, mut counts) = tokio::sync::mpsc::unbounded_channel::<(usize, usize)>();
                for (index, stream) in streams.into_iter().enumerate() {
                    let came = came.clone();
                    stream.set_nonblocking(true).expect("a socket");
                    let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
                    tokio::spawn(async move {
                        let mut buffer = vec![0; 16 << 10];
                        while stream.ready(Interest::READABLE).await.is_ok() {
                            match stream.try_read(&mut buffer) {
                                Ok(0) => return,
                                Ok(read) => drop(came.send((index, read))),
                                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                                Err(_) => return,
                            }
                        }
                    });
                }
                let mut left = vec![0usize; count];
                loop {
                    let mut waiting = 0;
                    tokio::select! {
                        more = expected.recv() => {
                            let Some(bytes) = more else { return };
                            left.iter_mut().for_each(|left| *left = bytes);
                            waiting = count;
                        }
                        // nobody measures what comes now
                        _ = counts.recv() => {}
                    }
                    while waiting > 0 {
                        let Some((index, read)) = counts.recv().await else { return };
                        left[index] = left[index].checked_sub(read).expect("too much");
                        waiting -= usize::from(left[index] == 0);
                        if waiting == 0 {
                            let _ = tell.send(());
                        }
                    }
                }
            });
        });
        Self { expect, done, thread: Some(thread) }
    }

    /// Each of them is to get so many bytes from now on.
    fn expect(&self, bytes: usize) {
        self.expect.send(bytes).expect("the listeners");
    }

    fn wait(&self) {
        self.done.recv_timeout(Duration::from_secs(60)).expect("all messages");
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let (expect, _) = tokio::sync::mpsc::unbounded_channel();
        self.expect = expect;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long one call took, and how much of that it had a processor.
type Call = (Duration, Duration);

/// How long until all have all of a burst, and its calls.
fn burst(served: &Served, listeners: &Listeners, together: bool) -> (Duration, Vec<Call>) {
    let text = Text::from("x".repeat(SIZE));
    listeners.expect(MESSAGES * FRAME);
    let sessions = served.container.room("room").sessions();
    let start = Instant::now();
    let task = served.handle.spawn(async move {
        let mut calls = Vec::new();
        for _ in 0..MESSAGES {
            let (before, processor) = (Instant::now(), ThreadTime::now());
            if together {
                assert_eq!(sessions.async_remote().send_text(text.clone()).dropped, 0);
            } else {
                for session in sessions.iter() {
                    drop(session.async_remote().send_text(text.clone()));
                }
            }
            calls.push((before.elapsed(), processor.elapsed()));
        }
        calls
    });
    listeners.wait();
    let took = start.elapsed();
    (took, served.handle.block_on(task).expect("the sender"))
}

fn bursts(threads: usize, members: usize) {
    let served = Served::with(threads);
    let listeners = Listeners::new(served.addr, members);
    while served.container.room("room").len() < members {
        std::thread::yield_now();
    }
    burst(&served, &listeners, false);
    burst(&served, &listeners, true);
    let (mut single, mut together, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        single.push(burst(&served, &listeners, false).0);
        let (took, of_round) = burst(&served, &listeners, true);
        together.push(took);
        calls.extend(of_round);
    }
    let own = calls.iter().map(|(_, processor)| *processor).max().unwrap_or_default();
    calls.sort();
    let of_rounds = single.iter().zip(&together);
    let mut ratios: Vec<f64> =
        of_rounds.map(|(single, together)| together.as_secs_f64() / single.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    let (least, ratio, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    let (single, together) = (median(single), median(together));
    println!(
        "| {threads} | {members} | {:.1} | {:.1} | {:.2} ({least:.2}–{most:.2}) | {:.2} | {:.2} | {:.2} | {:.2} |",
        millis(single),
        millis(together),
        ratio,
        millis(calls[calls.len() / 2].0),
        millis(calls[calls.len() * 99 / 100].0),
        millis(calls[calls.len() - 1].0),
        millis(own),
    );
}

/// The round trips of somebody else while one peer floods a room of so many.
fn flood(threads: usize, members: Option<usize>) {
    let served = Served::with(threads);
    let listeners = members.map(|members| Listeners::new(served.addr, members));
    let over = Arc::new(AtomicBool::new(false));
    let flood = members.map(|members| {
        while served.container.room("room").len() < members {
            std::thread::yield_now();
        }
        let (mut stream, over) = (open(served.addr, "/flood"), over.clone());
        let input = masked(&[b'x'; 20]).repeat(1000);
        stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket");
        std::thread::spawn(move || {
            // the rest of a frame that was written in part goes first
            let mut at = 0;
            while !over.load(Ordering::Relaxed) {
                at = (at + stream.write(&input[at..]).unwrap_or(0)) % input.len();
            }
        })
    });
    let mut witness = open(served.addr, "/echo");
    witness.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let (input, mut came) = (masked(b"twenty bytes, as is."), [0; 22]);
    std::thread::sleep(Duration::from_millis(300));
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(4) {
        let before = Instant::now();
        witness.write_all(&input).expect("the server");
        let answered = witness.read_exact(&mut came);
        times.push(before.elapsed());
        if answered.is_err() {
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    times.sort();
    println!(
        "| {threads} | {} | {} | {:.2} | {:.2} | {:.2} |",
        members.map_or("nobody".to_owned(), |members| format!("a room of {members}")),
        times.len(),
        millis(times[times.len() / 2]),
        millis(times[times.len() * 99 / 100]),
        millis(times[times.len() - 1]),
    );
    drop(flood.map(JoinHandle::join));
    drop(listeners);
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    if wants("burst") {
        println!(
            "A burst of {MESSAGES} texts of {SIZE} bytes, until all have it; {ROUNDS} rounds, median (least–most)\n"
        );
        println!(
            "| threads | sessions | one by one, ms | broadcast, ms | ratio | a call, p50 ms | p99 | longest | longest on a processor |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for threads in [1, 2] {
            for members in [100, 500, 2000] {
                bursts(threads, members);
            }
        }
        println!();
    }
    if wants("flood") {
        println!("Round trips of another connection while one peer floods, 4 seconds\n");
        println!("| threads | floods | trips | p50, ms | p99 | longest |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for threads in [1, 2] {
            for members in [None, Some(10), Some(100), Some(500), Some(2000)] {
                flood(threads, members);
            }
        }
    }
}
