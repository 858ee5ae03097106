//! The proxies of the guide's chapter "Deploy": nginx and HAProxy with the files in `docs/guide/deploy`, in which only
//! addresses, files and times are replaced, in front of a server on a loopback address.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{ProxyProtocol, ServerBuilder, Trust};
use support::ear::Ear;
use support::{Answer, Client, Journal, PING, PONG, TestServer, soon};

const NEEDS: &str = "set ENDPOINT_NGINX and ENDPOINT_HAPROXY, or run tests/run.sh";

/// Echoes, and says what it knows of the request.
#[server_endpoint("/echo")]
struct Echo(Journal);

impl Echo {
    #[on_message]
    fn text(&self, text: &str, session: &Session, request: &HandshakeRequest) -> Option<String> {
        let header = |name| session.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        match text {
            "request?" => Some(format!(
                "{} {} {} {}",
                request.path(),
                session.is_secure(),
                header("x-forwarded-proto"),
                header("x-forwarded-for")
            )),
            "peer?" => session.peer_addr().map(|peer| format!("{peer} {}", session.is_secure())),
            "client?" => {
                let peer = request.peer_addr().expect("the server listens on TCP");
                Some(format!("{} {} {}", peer, session.is_secure(), session.uri()))
            }
            "bye" => {
                session.close_with(CloseReason::new(CloseCode::Other(4002), "bye").unwrap());
                None
            }
            text => Some(text.to_owned()),
        }
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {reason} by {:?}", reason.initiator()));
    }
}

/// A server whose endpoint notes its closes, and whose page `/ready` answers as the flag says.
async fn serve(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (TestServer, Journal, Arc<AtomicBool>) {
    let (journal, ready) = (Journal::default(), Arc::new(AtomicBool::new(true)));
    let (own, flag) = (journal.clone(), ready.clone());
    let page = move || async move {
        if flag.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Echo(own.clone())));
    let server = settings(Server::with(container)).fallback(Router::new().route("/ready", get(page)));
    (TestServer::serving(server).await, journal, ready)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    Haproxy,
}

const BOTH: [Kind; 2] = [Kind::Nginx, Kind::Haproxy];

/// A proxy that runs until it is dropped.
struct Proxy {
    program: Child,
    folder: PathBuf,
    addr: SocketAddr,
    /// The certificate that it shows, for `localhost`.
    certificate: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // with SIGTERM, on which nginx ends its worker processes as well
        let _ = Command::new("kill").arg(self.program.id().to_string()).status();
        let _ = self.program.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file of the guide with `edits`, of which each has to fit.
fn edited(name: &str, edits: &[(&str, &str)]) -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("docs/guide/deploy"));
    let file = guide.map(|folder| folder.join(name)).find(|file| file.exists()).unwrap_or_else(|| panic!("no {name}"));
    let mut text = fs::read_to_string(file).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{name} has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

impl Proxy {
    /// Starts one in front of `server`, with TLS or, to be watched byte by byte, without; `edits` are further ones of
    /// the files.
    fn start(kind: Kind, server: SocketAddr, tls: bool, edits: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("endpoint-proxy-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(path("certificate.pem"), &certificate).unwrap();
        fs::write(path("key.pem"), &key).unwrap();
        fs::write(path("both.pem"), format!("{certificate}{key}")).unwrap();

        // The proxy inherits the listener, so nobody else can take its port, and a connection that comes before the
        // proxy is ready waits in the listener's queue.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let upstream = server.to_string();
        let mut command = match kind {
            Kind::Nginx => {
                let listen = format!("listen {addr}{};", if tls { " ssl" } else { "" });
                let (include, crt, key) = (path("websocket.conf"), path("certificate.pem"), path("key.pem"));
                let chat = [
                    ("127.0.0.1:8080", upstream.as_str()),
                    ("listen 443 ssl;", &listen),
                    ("/etc/nginx/websocket.conf", &include),
                    ("/etc/ssl/chat.example/fullchain.pem", &crt),
                    ("/etc/ssl/chat.example/privkey.pem", &key),
                ];
                fs::write(path("chat.conf"), edited("nginx.conf", &chat)).unwrap();
                fs::write(path("websocket.conf"), edited("nginx-websocket.conf", edits)).unwrap();
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|what| format!("{what}_temp_path {};\n", path(what)))
                    .concat();
                let main = format!(
                    "daemon off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
                     include {};\n}}\n",
                    path("nginx.pid"),
                    path("chat.conf")
                );
                fs::write(path("nginx.conf"), main).unwrap();
                let mut command = program("ENDPOINT_NGINX");
                command.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]).env("NGINX", "0;");
                command
            }
            Kind::Haproxy => {
                let bind = if tls { format!("bind fd@0 ssl crt {}", path("both.pem")) } else { "bind fd@0".to_owned() };
                let own = [
                    ("127.0.0.1:8080", upstream.as_str()),
                    ("bind :443 ssl crt /etc/haproxy/chat.example.pem", &bind),
                    ("inter 2s", "inter 100ms"),
                    ("maxconn 20000", "maxconn 100"),
                ];
                fs::write(path("haproxy.cfg"), edited("haproxy.cfg", &[&own, edits].concat())).unwrap();
                let mut command = program("ENDPOINT_HAPROXY");
                command.args(["-db", "-f", &path("haproxy.cfg")]);
                command
            }
        };
        let program = command.stdin(Stdio::from(OwnedFd::from(listener))).spawn().unwrap();
        Self { program, folder, addr, certificate }
    }

    async fn connect(&self, path: &str, heard: &Journal) -> Session {
        let port = self.addr.port();
        let container = ClientContainer::builder().trust(Trust::only(&self.certificate).unwrap()).build();
        // the origin of a page that the proxy delivered
        let request =
            container.request(format!("wss://localhost:{port}{path}")).origin(format!("https://localhost:{port}"));
        soon(request.connect(Ear(heard.clone()))).await.unwrap()
    }

    /// A handshake as a page of `host` at this proxy makes it, without TLS.
    async fn handshake(&self, host: &str) -> (Answer, Client) {
        let host = format!("{host}:{}", self.addr.port());
        let lines = [
            "GET /plain/echo HTTP/1.1",
            &format!("Host: {host}"),
            &format!("Origin: http://{host}"),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        Client::request(self.addr, &lines, b"").await
    }
}

fn program(variable: &str) -> Command {
    Command::new(std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: {NEEDS}")))
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn messages_closes_and_prefixes_pass_through_tls_termination() {
    for kind in BOTH {
        for (context, path, inside) in [("/live", "/live/echo", "/live/echo"), ("", "/plain/echo", "/echo")] {
            let (server, closes, _) = serve(|server| server.context_path(context)).await;
            let proxy = Proxy::start(kind, server.addr, true, &[]);
            let heard = Journal::default();
            let session = proxy.connect(path, &heard).await;
            session.async_remote().send_text("request?");
            heard.expect(&format!("{inside} false https 127.0.0.1")).await;
            for size in [0, 125, 65_536, 1 << 20] {
                session.async_remote().send_binary(vec![7; size]);
                heard.expect(&format!("{size} bytes")).await;
            }
            session.close_with(CloseReason::new(CloseCode::Other(4001), "done").unwrap());
            heard.expect("close 4001 done").await;
            closes.expect("close 4001 done by Peer").await;

            let session = proxy.connect(path, &heard).await;
            session.async_remote().send_text("bye");
            heard.expect("close 4002 bye").await;
            closes.expect("close 4002 bye by Application").await;

            let _open = proxy.connect(path, &heard).await;
            let shutdown = server.shutdown().await;
            assert_eq!((shutdown.closed, shutdown.cut), (1, 0), "{kind:?}");
            heard.expect("close 1001 the server is shutting down").await;
        }
    }
}

/// The timeouts of the files, as edits to `to`.
fn timeouts(kind: Kind, to: &str) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Nginx => vec![
            ("proxy_read_timeout 75s;", format!("proxy_read_timeout {to};")),
            ("proxy_send_timeout 75s;", format!("proxy_send_timeout {to};")),
        ],
        Kind::Haproxy => vec![
            ("timeout client 75s", format!("timeout client {to}")),
            ("timeout server 75s", format!("timeout server {to}")),
            ("timeout tunnel 75s", format!("timeout tunnel {to}")),
        ],
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn silent_session_outlives_a_proxy_timeout_above_ping_interval() {
    const PROXY_TIMEOUT: Duration = Duration::from_secs(1);
    for kind in BOTH {
        let (server, _closes, _) = serve(|server| server.ping_interval(Some(PROXY_TIMEOUT / 4))).await;
        let edits = timeouts(kind, "1s");
        let edits: Vec<_> = edits.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let proxy = Proxy::start(kind, server.addr, false, &edits);
        let (answer, mut client) = proxy.handshake("localhost").await;
        assert_eq!(answer.status, 101, "{answer:?}");
        let started = Instant::now();
        while started.elapsed() < 3 * PROXY_TIMEOUT {
            let ping = client.expect(PING).await;
            client.send(0x80 | PONG, ping).await;
        }
        client.text("still here").await;
        // a ping may be on its way
        while let Some(frame) = client.frame().await {
            if frame.opcode != PING {
                assert_eq!(frame.payload, b"still here", "{kind:?}");
                break;
            }
        }
        assert_eq!(server.container.sessions().len(), 1, "{kind:?}");
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn proxy_cuts_a_silent_session_whose_pings_are_off_or_come_too_late() {
    let intervals = [None, Some(Duration::from_secs(30))];
    for (kind, interval) in BOTH.into_iter().flat_map(|kind| intervals.map(|interval| (kind, interval))) {
        let (server, closes, _) = serve(|server| server.ping_interval(interval)).await;
        let edits = timeouts(kind, "1s");
        let edits: Vec<_> = edits.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let proxy = Proxy::start(kind, server.addr, false, &edits);
        let (answer, mut client) = proxy.handshake("localhost").await;
        assert_eq!(answer.status, 101, "{answer:?}");
        client.expect_end().await;
        let close = closes.next().await;
        assert!(close.starts_with("close 1006"), "{kind:?}: {close}");
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn refusal_names_the_header_that_a_proxy_replaced() {
    let (server, _closes, _) = serve(|server| server.allowed_hosts(["localhost", "chat.example"])).await;
    let replaced = ("proxy_set_header Host $http_host;", "proxy_set_header Host $host;");
    let proxy = Proxy::start(Kind::Nginx, server.addr, false, &[replaced]);
    for host in ["localhost", "chat.example"] {
        // $host has no port
        let (answer, _) = proxy.handshake(host).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains("proxy_set_header Host $http_host"), "{}", answer.body);
    }
    let proxy = Proxy::start(Kind::Nginx, server.addr, false, &[]);
    for host in ["localhost", "chat.example"] {
        assert_eq!(proxy.handshake(host).await.0.status, 101);
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn trusted_proxy_tells_the_host_and_the_port_that_it_replaced() {
    let host = ("proxy_set_header Host $http_host;", "proxy_set_header Host $host;");
    let port_alone = ("proxy_set_header X-Forwarded-Host $http_host;", "proxy_set_header X-Forwarded-Host \"\";");
    let host_alone = ("proxy_set_header X-Forwarded-Port $server_port;", "proxy_set_header X-Forwarded-Port \"\";");
    let neither = [host, port_alone, host_alone];
    for (edits, status) in [(&neither[..2], 101), (&[host, host_alone], 101), (&neither, 403)] {
        let trusting = |server: ServerBuilder| server.allowed_hosts(["chat.example"]).trusted_proxies(["127.0.0.1"]);
        let (server, _closes, _) = serve(trusting).await;
        let proxy = Proxy::start(Kind::Nginx, server.addr, false, edits);
        let (answer, mut client) = proxy.handshake("chat.example").await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 101 {
            client.text("client?").await;
            let port = proxy.addr.port();
            client.expect_text(&format!("127.0.0.1:0 false ws://chat.example:{port}/echo")).await;
        } else {
            assert!(answer.body.contains("X-Forwarded-Host"), "{}", answer.body);
        }
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn session_behind_tls_termination_is_secure_if_the_proxy_is_trusted() {
    for kind in BOTH {
        for (context, path, inside) in [("/live", "/live/echo", "/live/echo"), ("", "/plain/echo", "/echo")] {
            let trusting = |server: ServerBuilder| server.context_path(context).trusted_proxies(["127.0.0.1"]);
            let (server, _closes, _) = serve(trusting).await;
            let proxy = Proxy::start(kind, server.addr, true, &[]);
            let heard = Journal::default();
            let session = proxy.connect(path, &heard).await;
            session.async_remote().send_text("client?");
            let port = proxy.addr.port();
            heard.expect(&format!("127.0.0.1:0 true wss://localhost:{port}{inside}")).await;
        }
    }
}

/// A handshake from 127.0.0.2, with headers that a client may invent.
async fn spoofed(proxy: SocketAddr) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut client = Client::from(soon(socket.connect(proxy)).await.unwrap());
    let head = format!(
        "GET /live/echo HTTP/1.1\r\nHost: localhost:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\n\
         Forwarded: for=192.0.2.66;host=evil.example\r\n\r\n",
        proxy.port()
    );
    client.send_raw(head.as_bytes()).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 101, "{answer:?}");
    client
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn address_of_the_client_comes_through_one_and_two_proxies_whatever_the_client_sends() {
    // HAProxy of the guide does TLS, and says so even where a test takes TLS away
    let plain = ("http-request set-header X-Forwarded-Proto https", "http-request set-header X-Forwarded-Proto http");
    let nginx_adds = ("X-Forwarded-For $remote_addr;", "X-Forwarded-For $proxy_add_x_forwarded_for;");
    let haproxy_adds = ("http-request set-header X-Forwarded-For %[src]", "option forwardfor");
    // nginx has no page `/ready`
    let unchecked = [(" check inter 100ms fall 2", ""), (" track chat/chat1", "")];
    let trusting = |server: ServerBuilder| server.context_path("/live").trusted_proxies(["127.0.0.1"]);

    for (kind, edits) in [
        (Kind::Nginx, &[][..]),
        (Kind::Nginx, &[nginx_adds]),
        (Kind::Haproxy, &[plain]),
        (Kind::Haproxy, &[plain, haproxy_adds]),
    ] {
        let (server, _closes, _) = serve(trusting).await;
        let proxy = Proxy::start(kind, server.addr, false, edits);
        let mut client = spoofed(proxy.addr).await;
        client.text("client?").await;
        client.expect_text(&format!("127.0.0.2:0 false ws://localhost:{}/live/echo", proxy.addr.port())).await;
    }

    let (server, _closes, _) = serve(trusting).await;
    let inner = Proxy::start(Kind::Nginx, server.addr, false, &[nginx_adds]);
    let outer = Proxy::start(Kind::Haproxy, inner.addr, false, &[&[plain], &unchecked[..]].concat());
    let mut client = spoofed(outer.addr).await;
    client.text("client?").await;
    let answer = String::from_utf8(client.expect(support::TEXT).await).unwrap();
    assert!(answer.starts_with("127.0.0.2:0 "), "{answer}");
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn public_name_has_to_be_listed_behind_a_proxy_on_the_same_machine() {
    for kind in BOTH {
        let (server, _closes, _) = serve(|server| server).await;
        let proxy = Proxy::start(kind, server.addr, false, &[]);
        let (answer, _) = proxy.handshake("chat.example").await;
        assert_eq!(answer.status, 421, "{answer:?}");
        assert!(answer.body.contains("allowed_hosts([\"chat.example:"), "{}", answer.body);

        let (server, _closes, _) = serve(|server| server.allowed_hosts(["chat.example", "localhost"])).await;
        let proxy = Proxy::start(kind, server.addr, false, &[]);
        assert_eq!(proxy.handshake("chat.example").await.0.status, 101, "{kind:?}");
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn peer_is_the_client_of_a_proxy_that_sends_the_proxy_protocol() {
    for mode in [ProxyProtocol::Required, ProxyProtocol::Optional] {
        for (option, is_secure) in [("send-proxy", false), ("send-proxy-v2", false), ("send-proxy-v2-ssl", true)] {
            let (server, _closes, _) = serve(|server| server.proxy_protocol(mode)).await;
            let [checked, tracking] = ["fall 2", "track chat/chat1"].map(|end| (end, format!("{end} {option}")));
            let edits = [(checked.0, checked.1.as_str()), (tracking.0, tracking.1.as_str())];
            let proxy = Proxy::start(Kind::Haproxy, server.addr, true, &edits);
            let heard = Journal::default();
            let session = proxy.connect("/plain/echo", &heard).await;
            session.async_remote().send_text("peer?");
            // the client's own address, which only the header has
            let own = session.local_addr().unwrap();
            heard.expect(&format!("{own} {is_secure}")).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy: tests/run.sh has them, and names them in ENDPOINT_NGINX and ENDPOINT_HAPROXY"]
async fn server_that_is_not_ready_gets_no_new_sessions_and_keeps_the_open_ones() {
    let (server, _closes, ready) = serve(|server| server).await;
    let proxy = Proxy::start(Kind::Haproxy, server.addr, false, &[]);
    let (answer, mut client) = proxy.handshake("localhost").await;
    assert_eq!(answer.status, 101, "{answer:?}");
    ready.store(false, Ordering::Relaxed);
    soon(async {
        // until two checks have failed
        while proxy.handshake("localhost").await.0.status != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    client.text("still here").await;
    client.expect_text("still here").await;
    ready.store(true, Ordering::Relaxed);
    soon(async {
        while proxy.handshake("localhost").await.0.status != 101 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
