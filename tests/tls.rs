//! TLS on both sides: who is trusted, what a session knows of it, certificates that change, clients that never finish.

mod support;

use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{TlsConfig, Trust};
use support::ear::Ear;
use support::{Journal, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Echoes, and notes what it knows of its connection.
#[server_endpoint("/echo", max_message_size = "4MiB", compression = on)]
struct Echo {
    journal: Journal,
}

impl Echo {
    #[on_open]
    fn open(&self, session: &Session) {
        self.journal.note(format!("open {} {}", session.is_secure(), session.uri()));
    }

    #[on_message]
    async fn text(&self, text: Text) -> Text {
        text
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {reason} by {:?}", reason.initiator()));
    }
}

/// Notes each message after a suspension.
#[server_endpoint("/notes")]
struct Notes {
    journal: Journal,
}

impl Notes {
    #[on_message]
    async fn text(&self, text: String) {
        tokio::task::yield_now().await;
        self.journal.note(text);
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {reason} by {:?}", reason.initiator()));
    }
}

fn certificate() -> TlsConfig {
    TlsConfig::self_signed(["localhost", "127.0.0.1"]).unwrap()
}

async fn serve(tls: &TlsConfig) -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Echo { journal: own.clone() }));
    (TestServer::serving(Server::with(container).tls(tls.clone())).await, journal)
}

fn trusting(tls: &TlsConfig) -> ClientContainer {
    ClientContainer::builder().trust(Trust::only(tls.certificate_pem()).unwrap()).build()
}

#[tokio::test]
async fn secure_session_is_secure_on_both_sides() {
    let tls = certificate();
    let (server, journal) = serve(&tls).await;
    let heard = Journal::default();
    for host in ["localhost", "127.0.0.1"] {
        let uri = format!("wss://{host}:{}/echo?x=1", server.addr.port());
        let session = soon(trusting(&tls).connect(Ear(heard.clone()), uri.clone())).await.unwrap();
        journal.expect(&format!("open true {uri}")).await;
        assert!(session.is_secure());
        assert_eq!((session.uri(), session.peer_addr()), (uri.as_str(), Some(server.addr)));
        session.close();
        heard.expect("close 1000").await;
        journal.expect("close 1000 by Peer").await;
    }
    assert_eq!(server.shutdown().await.cut, 0);
}

#[tokio::test]
async fn messages_of_many_sizes_pass_in_both_directions() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    for compression in [Compression::OFF, Compression::ON] {
        let heard = Journal::default();
        let container = ClientContainer::builder()
            .trust(Trust::only(tls.certificate_pem()).unwrap())
            .compression(compression)
            .build();
        let uri = format!("wss://localhost:{}/echo", server.addr.port());
        let session = soon(container.connect(Ear(heard.clone()), uri)).await.unwrap();
        assert_eq!(session.extensions().len(), usize::from(compression == Compression::ON));
        for size in [0, 1, 126, 16_384, 65_536, 1 << 20, 3 << 20] {
            session.async_remote().send_binary(vec![7; size]);
            heard.expect(&format!("{size} bytes")).await;
        }
        // many at once, larger together than the buffers of socket and TLS
        for number in 0..2_000 {
            session.async_remote().send_text(format!("{number} {}", "x".repeat(number)));
        }
        for number in 0..2_000 {
            heard.expect(&format!("{number} {}", "x".repeat(number))).await;
        }
    }
}

#[tokio::test]
async fn untrusted_server_is_refused() {
    let tls = certificate();
    let (server, journal) = serve(&tls).await;
    let port = server.addr.port();
    let other = trusting(&certificate());
    for (container, uri) in [
        (ClientContainer::new(), format!("wss://localhost:{port}/echo")),
        (other, format!("wss://localhost:{port}/echo")),
        // the right certificate for another name
        (trusting(&TlsConfig::self_signed(["example.org"]).unwrap()), format!("wss://localhost:{port}/echo")),
    ] {
        let error = soon(container.connect(Ear(Journal::default()), uri)).await.unwrap_err();
        assert!(error.is_tls() && error.to_string().contains("localhost"), "{error:?}");
    }
    assert!(journal.rest().is_empty());
    // and without TLS there is no answer from a server that speaks nothing else
    let container = ClientContainer::new();
    let plain = container.connect(Ear(Journal::default()), format!("ws://localhost:{port}/echo"));
    assert!(soon(plain).await.unwrap_err().is_handshake());
}

#[tokio::test]
async fn server_without_tls_or_silent_is_an_error() {
    for says in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("wss://{}/", listener.local_addr().unwrap());
        let container = ClientContainer::builder().connect_timeout(Duration::from_millis(300)).build();
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
            stream
        };
        let connecting = container.connect(Ear(Journal::default()), uri);
        let (connected, mut stream) = soon(async { tokio::join!(connecting, serving) }).await;
        let error = connected.unwrap_err();
        assert_eq!((error.is_tls(), error.is_timeout()), (!says.is_empty(), says.is_empty()), "{error:?}");
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn certificate_for_another_name_is_refused() {
    let tls = TlsConfig::self_signed(["example.org"]).unwrap();
    let (server, _journal) = serve(&tls).await;
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let error = soon(trusting(&tls).connect(Ear(Journal::default()), uri)).await.unwrap_err();
    assert!(error.is_tls(), "{error:?}");
}

#[tokio::test]
async fn certificate_is_replaced_while_the_server_runs() {
    let (before, after) = (certificate(), key_pair());
    let (server, _journal) = serve(&before).await;
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let heard = Journal::default();
    let session = soon(trusting(&before).connect(Ear(heard.clone()), uri.clone())).await.unwrap();
    let old = trusting(&before);

    before.reload(&after.0, &after.1).unwrap();
    assert_eq!(before.certificate_pem().replace('\n', ""), after.0.replace(['\n', '\r'], ""));
    let new = ClientContainer::builder().trust(Trust::only(&after.0).unwrap()).build();
    soon(new.connect(Ear(Journal::default()), uri.clone())).await.unwrap();
    assert!(soon(old.connect(Ear(Journal::default()), uri.clone())).await.unwrap_err().is_tls());
    // what was open goes on
    session.async_remote().send_text("still here");
    heard.expect("still here").await;

    // what cannot be shown is not
    assert!(before.reload("", &after.1).unwrap_err().is_tls());
    assert!(before.reload(&after.0, key_pair().1).unwrap_err().is_tls());
    soon(new.connect(Ear(Journal::default()), uri)).await.unwrap();
}

/// Another certificate for localhost, and its key.
fn key_pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn invalid_certificates_are_refused() {
    let (certificate, key) = key_pair();
    for (certificate, key) in [("", ""), (&certificate, ""), ("", &key), (&key, &certificate), ("nonsense", "nonsense")]
    {
        let error = TlsConfig::from_pem(certificate, key).unwrap_err();
        assert!(error.is_tls(), "{error:?}");
    }
    let both = format!("{certificate}{key}");
    TlsConfig::from_pem(&both, &both).unwrap();
    assert!(Trust::only("nonsense").unwrap_err().is_tls());
    assert!(!format!("{:?}", TlsConfig::from_pem(certificate, &key).unwrap()).contains(&key[40..80]));
}

#[tokio::test]
async fn stalled_tls_handshakes_delay_no_other_client_and_time_out() {
    let tls = certificate().handshake_timeout(Duration::from_millis(300));
    let (server, journal) = serve(&tls).await;
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut stream = soon(TcpStream::connect(server.addr)).await.unwrap();
        if number % 2 == 0 {
            // the beginning of a handshake record
            stream.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
        }
        silent.push(stream);
    }
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let session = soon(trusting(&tls).connect(Ear(Journal::default()), uri.clone())).await.unwrap();
    journal.expect(&format!("open true {uri}")).await;
    for stream in &mut silent {
        // an alert may come first, and a reset is an end as well
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
    assert!(session.is_open());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_tls_handshakes() {
    let tls = certificate().handshake_timeout(Duration::from_secs(600));
    let (server, _journal) = serve(&tls).await;
    let mut stream = soon(TcpStream::connect(server.addr)).await.unwrap();
    stream.write_all(&[0x16]).await.unwrap();
    // one that came later is served, so the first is with the server
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let heard = Journal::default();
    let _session = soon(trusting(&tls).connect(Ear(heard.clone()), uri)).await.unwrap();
    assert_eq!(server.shutdown().await.cut, 0);
    heard.expect("close 1001 the server is shutting down").await;
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
}

/// A TLS stream of somebody else's making, on a socket that counts records.
async fn raw(tls: &TlsConfig, server: &TestServer, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls.certificate_pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = soon(TcpStream::connect(server.addr)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

const UPGRADE: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn application_protocol_of_a_server_without_http2_is_http_1_1() {
    let tls = certificate();
    let server = TestServer::serving(Server::with(ServerContainer::builder()).tls(tls.clone()).http2(None)).await;
    let stream = raw(&tls, &server, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(raw(&tls, &server, &[b"h2"]).await.is_err());
    assert_eq!(raw(&tls, &server, &[]).await.unwrap().get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn frames_behind_the_request_are_not_lost_and_a_batch_is_answered_at_once() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    let mut stream = raw(&tls, &server, &[]).await.unwrap();
    let frames: Vec<u8> =
        (0..100).flat_map(|number: u32| support::frame(0x81, number.to_string().as_bytes())).collect();
    soon(stream.write_all(&[UPGRADE, &frames].concat())).await.unwrap();
    soon(stream.flush()).await.unwrap();
    let expected: Vec<u8> =
        (0..100).flat_map(|number| support::raw_server::plain(0x81, number.to_string().as_bytes())).collect();
    let mut came = Vec::new();
    let mut reads = 0;
    while !came.ends_with(&expected) {
        assert!(soon(stream.read_buf(&mut came)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&came));
        reads += 1;
    }
    assert!(came.starts_with(b"HTTP/1.1 101"));
    // a read ends where a record does: the answers of a batch are not a record each
    assert!(reads <= 10, "{reads} reads");
}

#[tokio::test]
async fn messages_before_the_end_of_a_secure_connection_are_handled_in_order() {
    let (tls, journal) = (certificate(), Journal::default());
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Notes { journal: own.clone() }));
    let server = TestServer::serving(Server::with(container).tls(tls.clone())).await;
    for ends_tls in [true, false] {
        let mut stream = raw(&tls, &server, &[]).await.unwrap();
        let request = String::from_utf8(UPGRADE.to_vec()).unwrap().replace("/echo", "/notes");
        let frames: Vec<u8> = (0..40).flat_map(|number: u32| frame(0x81, number.to_string().as_bytes())).collect();
        stream.write_all(&[request.as_bytes(), &frames].concat()).await.unwrap();
        if ends_tls {
            stream.shutdown().await.unwrap();
        } else {
            // the end of TCP alone, without the end of TLS
            stream.get_mut().0.shutdown().await.unwrap();
        }
        for number in 0..40 {
            journal.expect(&number.to_string()).await;
        }
        assert!(journal.next().await.ends_with("by Transport"));
    }
}

#[tokio::test]
async fn server_closes_tls_properly() {
    let tls = certificate();
    let (server, journal) = serve(&tls).await;
    let mut stream = raw(&tls, &server, &[]).await.unwrap();
    let close = support::frame(0x88, &1000u16.to_be_bytes());
    soon(stream.write_all(&[UPGRADE, &close].concat())).await.unwrap();
    let mut came = Vec::new();
    // an end without a close_notify would be an error
    soon(stream.read_to_end(&mut came)).await.unwrap();
    assert!(came.ends_with(&[0x88, 2, 3, 0xe8]));
    assert!(journal.next().await.starts_with("open true"));
    journal.expect("close 1000 by Peer").await;
}

#[tokio::test]
async fn pages_are_served_over_https_and_lost_connections_are_reported() {
    let tls = certificate();
    let (server, journal) = serve(&tls).await;
    let mut stream = raw(&tls, &server, &[]).await.unwrap();
    soon(stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await.unwrap();
    let mut came = Vec::new();
    soon(stream.read_to_end(&mut came)).await.unwrap();
    assert!(came.starts_with(b"HTTP/1.1 404"));

    let mut stream = raw(&tls, &server, &[]).await.unwrap();
    soon(stream.write_all(UPGRADE)).await.unwrap();
    assert!(journal.next().await.starts_with("open true"));
    drop(stream);
    assert!(journal.next().await.starts_with("close 1006"));
}

#[tokio::test]
async fn page_without_encryption_is_not_of_the_same_origin() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    let port = server.addr.port();
    for (origin, host, status, part) in [
        ("https://localhost".to_owned(), "localhost".to_owned(), "101", ""),
        (format!("https://localhost:{port}"), format!("localhost:{port}"), "101", ""),
        ("http://localhost".to_owned(), "localhost".to_owned(), "403", "serve the page over https"),
        (format!("http://localhost:{port}"), format!("localhost:{port}"), "403", "serve the page over https"),
        (format!("https://localhost:{port}"), "evil.example".to_owned(), "421", "allowed_hosts([\"evil.example\"])"),
    ] {
        let mut stream = raw(&tls, &server, &[]).await.unwrap();
        let upgrade = std::str::from_utf8(UPGRADE).unwrap();
        let upgrade = upgrade.replace("Host: localhost", &format!("Host: {host}\r\nOrigin: {origin}"));
        soon(stream.write_all(upgrade.as_bytes())).await.unwrap();
        // with the end of the body, if there is one
        let mut came = String::new();
        while !came.contains("\r\n\r\n") || !came.contains(part) {
            let mut some = [0; 4096];
            let read = soon(stream.read(&mut some)).await.unwrap();
            assert!(read > 0, "{came}");
            came.push_str(std::str::from_utf8(&some[..read]).unwrap());
        }
        assert!(came.starts_with(&format!("HTTP/1.1 {status} ")), "{origin} at {host}: {came}");
    }
}

/// Sends `parts` to a port that speaks TLS, one after the other, and returns what came until the end.
async fn say(server: &TestServer, parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = soon(TcpStream::connect(server.addr)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut came = Vec::new();
    for part in parts {
        soon(stream.write_all(part)).await.unwrap();
        tokio::task::yield_now().await;
    }
    // a reset would lose the answer
    soon(stream.read_to_end(&mut came)).await.unwrap();
    came
}

#[tokio::test]
async fn http_without_tls_gets_a_sentence() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    let large = [&UPGRADE[..UPGRADE.len() - 2], b"X-Filler: ", "x".repeat(20_000).as_bytes(), b"\r\n\r\n"].concat();
    for parts in [
        &[UPGRADE][..],
        &[b"G", b"E", b"T", b" ", b"/ HTTP/1.1\r\n\r\n"],
        &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        &[&large],
    ] {
        let answer = String::from_utf8(say(&server, parts).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("use https:// or wss://"), "{answer}");
    }
    // our client reports it
    let container = ClientContainer::new();
    let uri = format!("ws://localhost:{}/echo", server.addr.port());
    let error = soon(container.connect(Ear(Journal::default()), uri)).await.unwrap_err();
    assert!(error.is_handshake() && error.response().is_some_and(|answer| answer.status() == 400), "{error:?}");
}

#[tokio::test]
async fn junk_on_a_tls_port_ends_the_connection() {
    let tls = certificate().handshake_timeout(Duration::from_millis(300));
    let (server, journal) = serve(&tls).await;
    for junk in
        [&b"hello\r\n"[..], &[0; 64], &[0xff; 4096], b"SSH-2.0-OpenSSH_9.9\r\n", &[0x16, 3, 1, 0xff, 0xff, 0, 0], b"GE"]
    {
        let answer = say(&server, &[junk]).await;
        // at most an alert
        assert!(answer.is_empty() || answer[0] == 21, "{junk:?}: {answer:?}");
    }
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let _session = soon(trusting(&tls).connect(Ear(Journal::default()), uri.clone())).await.unwrap();
    journal.expect(&format!("open true {uri}")).await;
}

#[tokio::test]
async fn tls_on_a_port_without_it_is_an_error_on_both_sides() {
    let container = ServerContainer::builder().endpoint_with(|_| Ok(Notes { journal: Journal::default() }));
    let server = TestServer::with(container).await;
    let error = raw(&certificate(), &server, &[]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error:?}");
    let uri = format!("wss://localhost:{}/notes", server.addr.port());
    let error = soon(trusting(&certificate()).connect(Ear(Journal::default()), uri)).await.unwrap_err();
    assert!(error.is_tls(), "{error:?}");
}

#[tokio::test]
async fn keys_that_the_client_updates_are_followed() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    let mut stream = raw(&tls, &server, &[]).await.unwrap();
    soon(stream.write_all(UPGRADE)).await.unwrap();
    for round in 0..20 {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        let text = format!("round {round}");
        soon(stream.write_all(&frame(0x81, text.as_bytes()))).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(text.as_bytes()) {
            assert!(soon(stream.read_buf(&mut came)).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn records_in_any_pieces_are_read() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    for piece in [1, 7, 1_000, 20_000] {
        let (near, far) = tokio::io::duplex(1 << 20);
        let relay = tokio::spawn(relay(far, server.addr, piece));
        let mut stream = secure(&tls, near).await;
        let size = if piece == 1 { 2_000 } else { 60_000 };
        let message = frame(0x81, "x".repeat(size).as_bytes());
        soon(stream.write_all(&[UPGRADE, &message, &frame(0x88, &1000u16.to_be_bytes())].concat())).await.unwrap();
        let mut came = Vec::new();
        soon(stream.read_to_end(&mut came)).await.unwrap();
        assert!(came.len() > size && came.ends_with(&[0x88, 2, 3, 0xe8]), "{piece}: {} bytes", came.len());
        drop(stream);
        relay.abort();
    }
}

/// Passes what `near` sends to `server` in pieces of a size, and everything back.
async fn relay(near: tokio::io::DuplexStream, server: std::net::SocketAddr, piece: usize) {
    let far = TcpStream::connect(server).await.unwrap();
    far.set_nodelay(true).unwrap();
    let (mut from_far, mut to_far) = far.into_split();
    let (mut from_near, mut to_near) = tokio::io::split(near);
    let there = async {
        let mut buffer = vec![0; piece];
        while let Ok(count @ 1..) = from_near.read(&mut buffer).await {
            if to_far.write_all(&buffer[..count]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
        let _ = to_near.shutdown().await;
    };
    tokio::join!(there, back);
}

/// A TLS stream for localhost on any socket.
async fn secure(tls: &TlsConfig, io: tokio::io::DuplexStream) -> TlsStream<tokio::io::DuplexStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls.certificate_pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, io)).await.unwrap()
}

#[tokio::test]
async fn header_of_a_frame_is_not_a_record_of_its_own() {
    let tls = certificate();
    let (server, _journal) = serve(&tls).await;
    let mut stream = raw(&tls, &server, &[]).await.unwrap();
    soon(stream.write_all(UPGRADE)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(soon(stream.read_buf(&mut head)).await.unwrap() > 0);
    }
    // large enough that the queue shares the payload instead of copying it
    let binary = Bytes::from(vec![7; 12_000]);
    let report = server.container.sessions().async_remote().send_binary(binary);
    report.complete().unwrap();
    let mut came = vec![0; 1 << 16];
    // a read ends where a record does
    let count = soon(stream.read(&mut came)).await.unwrap();
    assert_eq!(count, 4 + 12_000);
}
