//! What a good client notices of bad ones: the time of its round trips alone, and beside a hundred that misbehave.
//!
//! Server, good client and bad ones are three processes: the server has one core, the clients the other, where the bad
//! ones run at the lowest priority. Prints a table; it measures, and judges nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compare::frame::{self, BINARY, CLOSE, PING, TEXT};
use compare::handshake::{self, Answer};
use compare::process::{self, Cores, Process};
use compare::stats::{Histogram, spread};

const HELP: &str = "tail-latency: latency of a good client beside a hundred misbehaving ones

  --kinds a,b      any of: silent drip deaf pings empty fragments large room handshakes resets (all)
  --bad N          number of bad clients (100)
  --rounds N       3
  --seconds S      measured per round, without and with bad clients (1)
  --server-core N  0
  --load-core N    1
  --server PATH    the bench_server to start (../../target/bench-lto/examples/bench_server)";

const KINDS: [&str; 10] =
    ["silent", "drip", "deaf", "pings", "empty", "fragments", "large", "room", "handshakes", "resets"];

/// No step waits longer for the server.
const SILENCE: Duration = Duration::from_secs(10);

/// Between the start of the bad ones and the measurement.
const WARMUP: Duration = Duration::from_millis(300);

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn main() -> Result<()> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        println!("{HELP}");
        return Ok(());
    }
    let bad: usize = args.opt_value_from_str("--bad")?.unwrap_or(100);
    if let Some(kind) = args.opt_value_from_str::<_, String>("--be")? {
        process::die_with_parent();
        process::raise_open_files()?;
        return misbehave(&kind, args.value_from_str("--addr")?, bad);
    }
    ensure!(!cfg!(debug_assertions), "measure with --release");
    let kinds = args.opt_value_from_str("--kinds")?.unwrap_or_else(|| KINDS.join(","));
    let rounds: usize = args.opt_value_from_str("--rounds")?.unwrap_or(3);
    let seconds = Duration::try_from_secs_f64(args.opt_value_from_str("--seconds")?.unwrap_or(1.0))?;
    let server_core = Cores::one(args.opt_value_from_str("--server-core")?.unwrap_or(0));
    let load_core = args.opt_value_from_str("--load-core")?.unwrap_or(1);
    let delivering = process::delivering(load_core);
    let load_core = Cores::one(load_core);
    let server: String = args.opt_value_from_str("--server")?.unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench-lto/examples/bench_server").to_owned()
    });
    let rest = args.finish();
    ensure!(rest.is_empty(), "unknown arguments {rest:?}\n\n{HELP}");
    ensure!(
        Path::new(&server).exists(),
        "{server} does not exist: cargo build --profile bench-lto --example bench_server"
    );
    process::raise_open_files()?;
    process::pin(&load_core)?;

    println!(
        "| {bad} bad ones | p50 alone, us | p50 beside | p99 alone, us | p99 beside | ratio of p99 | stalled, ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for kind in kinds.split(',') {
        ensure!(KINDS.contains(&kind), "unknown kind {kind}\n\n{HELP}");
        let mut found = Vec::new();
        for _ in 0..rounds {
            let round = round(kind, bad, &server, &server_core, &load_core, delivering, seconds);
            found.push(round.with_context(|| kind.to_owned())?);
        }
        let of = |what: fn(&Round) -> f64| {
            let spread = spread(found.iter().map(what)).context("no rounds")?;
            Ok::<_, anyhow::Error>(format!("{:.1} ({:.1}–{:.1})", spread.median, spread.min, spread.max))
        };
        println!(
            "| {kind} | {} | {} | {} | {} | {} | {} |",
            of(|round| round.alone.quantile_us(0.5))?,
            of(|round| round.beside.quantile_us(0.5))?,
            of(|round| round.alone.quantile_us(0.99))?,
            of(|round| round.beside.quantile_us(0.99))?,
            of(|round| round.beside.quantile_us(0.99) / round.alone.quantile_us(0.99))?,
            of(|round| round.held_up.as_secs_f64() * 1e3)?,
        );
    }
    Ok(())
}

struct Round {
    alone: Histogram,
    beside: Histogram,
    /// How long the good client and the kernel's thread that delivers to it were ready to run, beside the bad ones, and
    /// did not: the server has no part in that.
    held_up: Duration,
}

/// A server of its own, its good client alone, then beside the bad ones.
fn round(
    kind: &str,
    bad: usize,
    server: &str,
    server_core: &Cores,
    load_core: &Cores,
    delivering: Option<u32>,
    seconds: Duration,
) -> Result<Round> {
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let command = [server, "--threads", "1", "--addr", &addr.to_string()].map(str::to_owned);
    let mut server = Process::start_server(&command, server_core, Path::new("/dev/null"))?;
    let mut good = await_server(addr, &mut server)?;
    round_trips(&mut good, WARMUP)?;
    let alone = round_trips(&mut good, seconds)?;

    let waited = || {
        let kernel = delivering.map_or(Ok(Duration::ZERO), process::waiting_time)?;
        Ok::<_, anyhow::Error>(kernel + process::waiting_time(std::process::id())?)
    };
    let before = waited()?;
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe()?);
    command.args(["--be", kind, "--addr", &addr.to_string(), "--bad", &bad.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut bad_clients = Process::start(&mut command, load_core)?;
    let mut ready = [0; 6];
    let mut stdout = bad_clients.take_stdout().context("no stdout")?;
    stdout.read_exact(&mut ready).context("the bad clients did not connect")?;
    round_trips(&mut good, WARMUP)?;
    let beside = round_trips(&mut good, seconds)?;
    ensure!(bad_clients.ended()?.is_none(), "the bad clients have exited");
    ensure!(server.ended()?.is_none(), "the server has exited");
    // what a thread has waited is only known once it has run
    drop(bad_clients);
    round_trips(&mut good, WARMUP)?;
    let held_up = waited()?.saturating_sub(before);
    Ok(Round { alone, beside, held_up })
}

fn await_server(addr: SocketAddr, server: &mut Process) -> Result<TcpStream> {
    let start = Instant::now();
    loop {
        match open(addr, "/ws") {
            Ok(stream) => return Ok(stream),
            Err(e) if start.elapsed() > SILENCE || server.ended()?.is_some() => return Err(e),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Connects and upgrades; the socket blocks, but not for long.
fn open(addr: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.write_all(&handshake::request(addr, path, false))?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut chunk)?;
        ensure!(length > 0, "the server closed the connection on the upgrade request");
        bytes.extend_from_slice(&chunk[..length]);
        match handshake::read_answer(&bytes) {
            Answer::Incomplete => {}
            Answer::Accepted(_) => return Ok(stream),
            other => bail!("unexpected response to the upgrade: {other:?}"),
        }
    }
}

/// One message after the other, 20 bytes each, for so long; every answer is checked.
fn round_trips(good: &mut TcpStream, length: Duration) -> Result<Histogram> {
    let (mut message, mut answer) = (Vec::new(), Vec::new());
    frame::put_client_frame(&mut message, TEXT, b"twenty bytes, these!", MASK);
    frame::put_server_frame(&mut answer, TEXT, b"twenty bytes, these!");
    let (mut histogram, mut came) = (Histogram::new(), vec![0; answer.len()]);
    let start = Instant::now();
    let mut now = start;
    while now - start < length {
        good.write_all(&message)?;
        good.read_exact(&mut came).context("the good client received no response")?;
        ensure!(came == answer, "the good client received {came:?}");
        let after = Instant::now();
        histogram.record(after - now);
        now = after;
    }
    Ok(histogram)
}

// ---- the bad ones ----

/// Says "ready" once all are there, and does not end.
fn misbehave(kind: &str, addr: SocketAddr, count: usize) -> Result<()> {
    if matches!(kind, "handshakes" | "resets") {
        println!("ready");
        return come_and_go(addr, count, kind == "resets");
    }
    let chunk = repeated(kind);
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = open(addr, if kind == "room" { "/broadcast" } else { "/ws" })?;
        if kind == "fragments" {
            // the first of a message without end
            stream.write_all(&[BINARY, 0x80, 0, 0, 0, 0])?;
        }
        stream.set_nonblocking(true)?;
        streams.push((stream, 0));
    }
    println!("ready");
    let mut scratch = vec![0; 256 << 10];
    loop {
        let mut moved = false;
        for (index, (stream, sent)) in streams.iter_mut().enumerate() {
            let chunk = if kind == "room" && index > 0 { &[] } else { &chunk[..] };
            let piece = &chunk[*sent % chunk.len().max(1)..];
            let piece = if kind == "drip" { &piece[..1] } else { piece };
            let written = if piece.is_empty() { None } else { attempt(stream.write(piece))? };
            if let Some(count) = written {
                *sent += count;
                moved |= kind != "drip";
            }
            if kind != "deaf" {
                moved |= attempt(stream.read(&mut scratch))?.is_some();
            }
        }
        if !moved {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a kind says again and again.
fn repeated(kind: &str) -> Vec<u8> {
    let mut chunk = Vec::new();
    let (count, opcode, length) = match kind {
        "silent" => return chunk,
        "drip" => (1, TEXT, 100),
        "deaf" => (64, BINARY, 1 << 10),
        "pings" => (10_000, PING, 0),
        "empty" => (10_000, BINARY, 0),
        "large" => (1, BINARY, 1 << 20),
        // one of them to all of them
        "room" => (1000, BINARY, 20),
        _ => return [0x00, 0x80, 0, 0, 0, 0].repeat(10_000),
    };
    for _ in 0..count {
        frame::put_client_frame(&mut chunk, opcode, &vec![7; length], MASK);
    }
    chunk
}

fn attempt(result: std::io::Result<usize>) -> Result<Option<usize>> {
    match result {
        Ok(0) => bail!("the server closed a connection"),
        Ok(count) => Ok(Some(count)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// So many connections at a time that ask for a session and leave: with close frames, or with a reset.
fn come_and_go(addr: SocketAddr, count: usize, resets: bool) -> Result<()> {
    let mut request = handshake::request(addr, "/ws", false);
    let mut close = Vec::new();
    frame::put_client_frame(&mut close, CLOSE, &1000u16.to_be_bytes(), MASK);
    request.extend(close.repeat(100));
    loop {
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(addr)?;
            stream.write_all(if resets { &request[..request.len() / 2] } else { &request })?;
            streams.push(stream);
        }
        for stream in streams {
            if resets {
                // what has come and is not read makes the kernel send a reset
                stream.peek(&mut [0])?;
            } else {
                stream.set_read_timeout(Some(SILENCE))?;
                while (&stream).read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
            }
        }
    }
}
