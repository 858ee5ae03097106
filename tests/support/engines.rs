//! Servers of engines that a test starts itself: Redis, a Redis Cluster, and NATS, on loopback ports, with their data in
//! a temporary folder. A dropped server ends, and its folder goes.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest wait for a server.
const DEADLINE: Duration = Duration::from_secs(20);

/// Servers that belong together. They keep their ports when they are stopped and started again.
pub struct Engine {
    scheme: &'static str,
    nodes: Vec<Node>,
    folder: PathBuf,
}

/// One server.
struct Node {
    program: PathBuf,
    arguments: Vec<String>,
    /// Of clients.
    port: u16,
    /// Where to ask NATS for its state.
    monitor: u16,
    is_redis: bool,
    process: Option<Child>,
}

impl Engine {
    /// One Redis server, with further options such as `["--requirepass", "secret"]`.
    pub fn redis(options: &[&str]) -> Self {
        let folder = folder();
        let node = Node::redis(&folder, 0, options);
        Self { scheme: "redis", nodes: vec![node], folder }.started()
    }

    /// A Redis Cluster of three masters.
    pub fn redis_cluster() -> Self {
        let folder = folder();
        let node = |number| {
            let bus = free_port().to_string();
            let file = format!("nodes-{number}.conf");
            let timeout = ["--cluster-node-timeout", "2000", "--cluster-config-file", &file];
            Node::redis(
                &folder,
                number,
                &[&["--cluster-enabled", "yes", "--cluster-port", &bus], &timeout[..]].concat(),
            )
        };
        let nodes: Vec<_> = (0..3).map(node).collect();
        let engine = Self { scheme: "redis", nodes, folder }.started();
        for (number, slots) in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].into_iter().enumerate() {
            let port = engine.nodes[number].port;
            redis(port, &["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
            redis(port, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            let first = &engine.nodes[0];
            let bus = first.arguments.iter().skip_while(|argument| *argument != "--cluster-port").nth(1).unwrap();
            redis(port, &["CLUSTER", "MEET", "127.0.0.1", &first.port.to_string(), bus]);
        }
        engine.wait(Node::is_complete);
        engine
    }

    /// One NATS server, with JetStream or without.
    pub fn nats(jetstream: bool) -> Self {
        Self::nats_with(jetstream, "")
    }

    /// One NATS server with a configuration of its own.
    pub fn nats_with(jetstream: bool, configuration: &str) -> Self {
        let folder = folder();
        let file = folder.join("nats.conf").display().to_string();
        fs::write(&file, configuration).unwrap();
        let (port, monitor) = (free_port(), free_port());
        let mut arguments = vec!["-a".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port.to_string()];
        arguments.extend(["-m".to_owned(), monitor.to_string(), "-c".to_owned(), file]);
        arguments.extend(["-l".to_owned(), folder.join("nats.log").display().to_string()]);
        if jetstream {
            arguments.extend(["-js".to_owned(), "-sd".to_owned(), folder.display().to_string()]);
        }
        let node =
            Node { program: program("ENDPOINT_NATS_SERVER"), arguments, port, monitor, is_redis: false, process: None };
        Self { scheme: "nats", nodes: vec![node], folder }.started()
    }

    fn started(mut self) -> Self {
        self.nodes.iter_mut().for_each(Node::start);
        self.wait(Node::answers);
        self
    }

    /// The address of the first server, such as `redis://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.nodes[0].port)
    }

    /// The ports for clients.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Ends the servers as an administrator would.
    pub fn stop(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.end("TERM"));
    }

    /// Ends the servers as a crash would.
    pub fn kill(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.end("KILL"));
    }

    /// Starts the servers again and waits until they serve.
    pub fn start(&mut self) {
        self.nodes.iter_mut().for_each(Node::start);
        self.wait(Node::answers);
        if self.nodes.len() > 1 {
            self.wait(Node::is_complete);
        }
    }

    /// Stalls the servers: their connections stay, and nothing is answered.
    pub fn pause(&self) {
        self.nodes.iter().for_each(|node| node.signal("STOP"));
        self.wait(Node::is_stalled);
    }

    /// Ends a stall.
    pub fn resume(&self) {
        self.nodes.iter().for_each(|node| node.signal("CONT"));
    }

    /// Number of connections of clients, without that which asks.
    pub fn connections(&self) -> usize {
        self.nodes.iter().map(Node::connections).sum()
    }

    fn wait(&self, ready: fn(&Node) -> bool) {
        let start = Instant::now();
        while let Some(missing) = self.nodes.iter().find(|node| !ready(node)) {
            assert!(
                start.elapsed() < DEADLINE,
                "{} does not serve: {:?}",
                missing.program.display(),
                missing.arguments
            );
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Node {
    fn redis(folder: &Path, number: usize, options: &[&str]) -> Self {
        let port = free_port();
        let log = folder.join(format!("redis-{number}.log")).display().to_string();
        let (port_text, folder) = (port.to_string(), folder.display().to_string());
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--dir", &folder, "--logfile", &log, "--save", ""];
        let arguments = own.iter().chain(options).map(|argument| (*argument).to_owned()).collect();
        Self { program: program("ENDPOINT_REDIS_SERVER"), arguments, port, monitor: 0, is_redis: true, process: None }
    }

    fn start(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display())));
    }

    fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            let status = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status().unwrap();
            assert!(status.success(), "kill -{name}: {status}");
        }
    }

    fn end(&mut self, signal: &str) {
        self.signal(signal);
        if let Some(mut process) = self.process.take() {
            process.wait().unwrap();
        }
    }

    /// Whether all threads of the server have stopped, which they do a moment after the signal.
    fn is_stalled(&self) -> bool {
        let process = self.process.as_ref().expect("the server runs");
        fs::read_dir(format!("/proc/{}/task", process.id())).unwrap().all(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status"));
            status.is_ok_and(|status| status.lines().any(|line| line.starts_with("State:\tT")))
        })
    }

    /// Whether the server answers.
    fn answers(&self) -> bool {
        let Ok(mut stream) = connect(self.port) else { return false };
        if !self.is_redis {
            let mut greeting = [0; 4];
            return stream.read_exact(&mut greeting).is_ok() && greeting == *b"INFO";
        }
        // a server with a password answers as well
        ask_redis(&mut stream, &["PING"]).is_some_and(|answer| answer == "PONG" || answer.starts_with("NOAUTH"))
    }

    /// Whether the server knows its whole Redis Cluster.
    fn is_complete(&self) -> bool {
        let about = redis(self.port, &["CLUSTER", "INFO"]);
        ["cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"].iter().all(|line| about.contains(line))
    }

    fn connections(&self) -> usize {
        if self.is_redis {
            // its own is in the list
            return redis(self.port, &["CLIENT", "LIST"]).lines().filter(|line| line.contains("id=")).count() - 1;
        }
        let mut stream = connect(self.monitor).unwrap();
        stream.write_all(b"GET /connz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, rest) = answer.split_once("\"num_connections\": ").unwrap_or_else(|| panic!("{answer}"));
        rest.split(',').next().unwrap().trim().parse().unwrap()
    }
}

/// Runs a command on a Redis server and returns its answer, which must be text or a number.
pub fn redis(port: u16, command: &[&str]) -> String {
    let answer = connect(port).ok().and_then(|mut stream| ask_redis(&mut stream, command));
    answer.unwrap_or_else(|| panic!("Redis on port {port} does not answer {command:?}"))
}

fn ask_redis(stream: &mut TcpStream, command: &[&str]) -> Option<String> {
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes()).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let line = line.trim_end();
    let Some(length) = line.strip_prefix('$') else { return line.get(1..).map(str::to_owned) };
    let mut text = vec![0; length.parse().ok()?];
    reader.read_exact(&mut text).ok()?;
    String::from_utf8(text).ok()
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// A port that nobody has now; its server takes it a moment later. It is below those that the system gives to outgoing
/// connections, and each process of tests begins somewhere else.
fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let start = std::process::id() as usize * 97;
    let mut candidates = (0..15_000).map(|_| (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 15_000 + 16_000);
    let free = candidates.find_map(|port| {
        let port = u16::try_from(port).unwrap();
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    free.expect("a free port")
}

fn folder() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("endpoint-engine-{}-{number}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

fn program(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("set {variable}, or run tests/run.sh")).into()
}
