//! Where a server listens: several addresses, sockets given to it, Unix sockets, several accept loops, and what systemd passes
//! and hears.

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Listener, ServerBuilder, Shutdown};
use support::{Client, Log, soon};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str, session: &Session) -> String {
        match text {
            "who?" => format!("{:?} {:?}", session.peer_addr(), session.local_addr()),
            text => text.to_owned(),
        }
    }
}

fn builder() -> ServerBuilder {
    Server::with(ServerContainer::builder().register::<Echo>()).quiet()
}

/// A server that runs in a task until it is stopped.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Shutdown, Error>>,
}

impl Running {
    fn start(server: Server) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run_until(async move { drop(stopped.await) }));
        Self { stop, task }
    }

    async fn stop(self) -> Shutdown {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap().unwrap()
    }
}

async fn echoes(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr, "/echo").await;
    client.text("hello").await;
    client.expect_text("hello").await;
    client
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("endpoint-listeners-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("chat.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn server_serves_every_listener_and_lists_them() {
    let log = Log::capture();
    let given = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tokio = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let given_addrs = [given.local_addr().unwrap(), tokio.local_addr().unwrap()];
    let builder = builder().listen(given).listen(tokio).listen(Listener::tcp("127.0.0.1:0").backlog(4096));
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let (first, addrs) = (server.local_addr().unwrap(), server.local_addrs());
    assert_eq!((addrs.len(), addrs[0], &addrs[1..3]), (4, first, &given_addrs[..]));
    let running = Running::start(server);
    let mut clients = Vec::new();
    for addr in &addrs {
        let mut client = echoes(*addr).await;
        client.text("who?").await;
        let own = client.stream.local_addr().unwrap();
        client.expect_text(&format!("Some({own}) Some({addr})")).await;
        clients.push(client);
    }
    let lines = log.lines("listening on");
    let urls: Vec<_> = addrs.iter().map(|addr| format!("ws://{addr}/echo")).collect();
    assert!(lines.len() == 1 && lines[0].ends_with(&format!("listening on {}", urls.join(", "))), "{lines:?}");
    let stopping = tokio::spawn(running.stop());
    for client in &mut clients {
        client.expect_close(1001).await;
        client.close(1001, "").await;
    }
    assert_eq!(soon(stopping).await.unwrap().closed, 4);
    for addr in addrs {
        assert!(TcpStream::connect(addr).await.is_err(), "{addr} still listens");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accept_loops_share_one_address_and_end_together() {
    let server = builder().listen(Listener::tcp("127.0.0.1:0").accept_loops(4)).build().await.unwrap();
    let addr = server.local_addr().unwrap();
    assert_eq!(server.local_addrs(), [addr]);
    let running = Running::start(server);
    // the kernel chooses the loop by the client's port
    for _ in 0..64 {
        echoes(addr).await;
    }
    running.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn two_servers_share_a_port_only_with_reuse_port() {
    let first = builder().listen(Listener::tcp("127.0.0.1:0").reuse_port(true)).build().await.unwrap();
    let addr = first.local_addr().unwrap();
    let error = builder().listen(Listener::tcp(addr)).build().await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_io() && text.starts_with(&format!("cannot listen on {addr}: ")), "{text}");
    assert!(text.ends_with("Stop the process that listens there, or choose another address"), "{text}");
    let second = builder().listen(Listener::tcp(addr).reuse_port(true)).build().await.unwrap();
    assert_eq!(second.local_addr().unwrap(), addr);
    let (first, second) = (Running::start(first), Running::start(second));
    for _ in 0..8 {
        echoes(addr).await;
    }
    first.stop().await;
    // new connections go to the one that is left
    echoes(addr).await;
    second.stop().await;
}

#[tokio::test]
async fn mistakes_about_listeners_are_reported_together() {
    let error = builder().build().await.unwrap_err();
    assert!(error.is_deployment() && error.to_string().contains("call `bind` with an address, or `listen`"), "{error}");
    let given = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = Listener::from(given).backlog(0).reuse_port(true);
    let builder = builder().listen(listener).max_connections(0).max_pending_handshakes(0);
    let error = builder.build().await.unwrap_err();
    let text = error.to_string();
    for part in ["`backlog` needs", "`backlog` must", "`reuse_port`", "`max_connections`", "`max_pending_handshakes`"] {
        assert!(error.is_deployment() && text.contains(part), "{part}: {text}");
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    /// Opens a WebSocket and asks for the addresses.
    async fn who(path: &std::path::Path) -> (UnixStream, String) {
        let mut stream = soon(UnixStream::connect(path)).await.unwrap();
        let head = "GET /echo HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&support::frame(0x81, b"who?")).await.unwrap();
        let mut read = Vec::new();
        soon(async {
            while !read.ends_with(b"None None") {
                assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
            }
        })
        .await;
        let text = String::from_utf8_lossy(&read).into_owned();
        (stream, text)
    }

    #[tokio::test]
    async fn unix_socket_serves_peers_without_addresses_and_is_removed_at_the_end() {
        let (folder, log) = (Folder::new(), Log::capture());
        let path = folder.socket();
        let server = builder().listen(Listener::unix(&path).permissions(0o600).backlog(8)).build().await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(server.local_addrs().is_empty());
        assert!(server.local_addr().unwrap_err().to_string().contains("Unix sockets alone"));
        let running = Running::start(server);
        // a name that a TCP listener on a loopback address refuses
        let (stream, text) = who(&path).await;
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        let lines = log.lines("listening on");
        assert!(lines[0].ends_with(&format!("listening on unix:{}", path.display())), "{lines:?}");
        drop(stream);
        running.stop().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = Folder::new();
        let path = folder.socket();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = builder().listen(Listener::unix(&path)).build().await.unwrap();
        let error = builder().listen(Listener::unix(&path)).build().await.unwrap_err();
        assert!(error.is_io() && error.to_string().contains("another process listens on it"), "{error}");
        let running = Running::start(first);
        who(&path).await;
        running.stop().await;

        std::fs::write(&path, "a file").unwrap();
        let error = builder().listen(Listener::unix(&path)).build().await.unwrap_err();
        assert!(error.to_string().contains("a file that is not a socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
    }

    #[tokio::test]
    async fn socket_that_somebody_else_put_there_stays() {
        let folder = Folder::new();
        let path = folder.socket();
        let server = builder().listen(Listener::unix(&path)).build().await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        Running::start(server).stop().await;
        assert!(path.exists(), "the socket of another process was removed");

        let given = folder.0.join("given.sock");
        let server = builder().listen(UnixListener::bind(&given).unwrap()).build().await.unwrap();
        let running = Running::start(server);
        who(&given).await;
        running.stop().await;
        assert!(given.exists(), "a socket that was given belongs to somebody else");
    }
}

#[cfg(target_os = "linux")]
mod systemd {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Set in the child process that is the service.
    const ROLE: &str = "ENDPOINT_LISTENERS_ROLE";

    /// The service: a process that gets its sockets from the test, as from systemd. Does nothing in the test's own process.
    #[test]
    fn service() {
        let Ok(role) = std::env::var(ROLE) else { return };
        let listener = if role == "all" { Listener::systemd() } else { Listener::systemd_named(role) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = match builder().listen(listener).build().await {
                Ok(server) => server,
                Err(error) => return println!("failed: {error}"),
            };
            // until the test ends the process as systemd does
            let stop = async {
                let terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
                terminated.unwrap().recv().await;
            };
            server.run_until(stop).await.unwrap();
        });
    }

    struct Service {
        program: Child,
        told: UnixDatagram,
        _folder: Folder,
    }

    impl Service {
        /// Starts it with `listener` as its file 3.
        fn start(role: &str, listener: std::net::TcpListener, variables: &[(&str, &str)]) -> Self {
            let folder = Folder::new();
            let notify = folder.0.join("notify.sock");
            let told = UnixDatagram::bind(&notify).unwrap();
            told.set_read_timeout(Some(support::DEADLINE)).unwrap();
            // the shell's process becomes the service
            let script = "LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$0\" --exact systemd::service --nocapture 3<&0";
            let mut command = Command::new("sh");
            command.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
            command.env(ROLE, role).env("LISTEN_FDS", "1").env("NOTIFY_SOCKET", &notify);
            command.envs(variables.iter().copied()).stdout(Stdio::piped());
            let program = command.stdin(Stdio::from(OwnedFd::from(listener))).spawn().unwrap();
            Self { program, told, _folder: folder }
        }

        /// The next that the service manager is told.
        fn told(&self) -> String {
            let mut buffer = [0; 256];
            let count = self.told.recv(&mut buffer).expect("nothing was told in time");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        }

        fn terminate(&mut self) {
            let killed = Command::new("kill").arg(self.program.id().to_string()).status().unwrap();
            assert!(killed.success());
        }
    }

    impl Drop for Service {
        fn drop(&mut self) {
            let _ = self.program.kill();
            let _ = self.program.wait();
        }
    }

    fn listener() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn service_takes_the_sockets_of_systemd_and_tells_ready_alive_and_stopping() {
        for (role, names) in [("all", ""), ("web", "web")] {
            let (listener, addr) = listener();
            let variables = [("LISTEN_FDNAMES", names), ("WATCHDOG_USEC", "200000")];
            let mut service = Service::start(role, listener, &variables);
            assert_eq!(service.told(), "READY=1\n");
            echoes(addr).await;
            for _ in 0..3 {
                assert_eq!(service.told(), "WATCHDOG=1\n");
            }
            service.terminate();
            let rest: HashSet<_> =
                std::iter::repeat_with(|| service.told()).take_while(|told| told != "STOPPING=1\n").collect();
            assert!(rest.iter().all(|told| told == "WATCHDOG=1\n"), "{rest:?}");
            assert!(service.program.wait().unwrap().success());
        }
    }

    #[test]
    fn sockets_of_another_name_or_process_are_no_listeners() {
        for (role, variables) in [("web", &[("LISTEN_FDNAMES", "admin")][..]), ("all", &[("LISTEN_FDS", "0")])] {
            let (listener, _) = listener();
            let mut service = Service::start(role, listener, variables);
            let mut output = String::new();
            std::io::Read::read_to_string(service.program.stdout.as_mut().unwrap(), &mut output).unwrap();
            assert!(output.contains("failed: cannot listen on the sockets of systemd"), "{output}");
            assert!(output.contains("start its socket unit"), "{output}");
        }
    }
}
