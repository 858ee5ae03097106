//! The PROXY protocol: whose address a session has, and which connections are closed.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ProxyProtocol, ServerBuilder, TlsConfig};
use support::{Client, Log, TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[server_endpoint("/who")]
#[derive(Default)]
struct Who;

impl Who {
    #[on_message]
    fn text(&self, _: &str, session: &Session) -> String {
        let [peer, local] = [session.peer_addr(), session.local_addr()].map(|addr| addr.unwrap().to_string());
        format!("{peer} {local} {}", session.is_secure())
    }
}

fn builder() -> ServerBuilder {
    Server::with(ServerContainer::builder().register::<Who>())
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";

fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, payload].concat()
}

/// Addresses as in [`LINE`], and that the client connected over TLS.
fn secure() -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];
    version_2(0x21, 0x11, &[&addresses[..], b"\x02\x00\x04chat", b"\x20\x00\x05\x01\0\0\0\0"].concat())
}

/// Opens a WebSocket behind `header`, sent in parts of `size` bytes, and asks for the addresses.
async fn who(addr: SocketAddr, header: &[u8], size: usize) -> String {
    let mut stream = soon(TcpStream::connect(addr)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in header.chunks(size) {
        soon(stream.write_all(part)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let own = stream.local_addr().unwrap().to_string();
    let mut client = Client::upgrade(stream, "/who").await;
    client.text("?").await;
    let frame = client.frame().await.unwrap();
    String::from_utf8(frame.payload).unwrap().replace(&own, "own").replace(&addr.to_string(), "server")
}

/// Sends `bytes` and waits for the end of the connection; returns what came.
async fn answer(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = soon(TcpStream::connect(addr)).await.unwrap();
    soon(stream.write_all(bytes)).await.unwrap();
    let mut answer = Vec::new();
    // a reset is an end as well
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn session_has_the_addresses_of_the_header() {
    let six = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
    let six_told = "[2020:2020:2020:2020:2020:2020:2020:2020]:1 [3030:3030:3030:3030:3030:3030:3030:3030]:2 false";
    for mode in [ProxyProtocol::Required, ProxyProtocol::Optional] {
        let server = TestServer::serving(builder().proxy_protocol(mode)).await;
        for (header, told) in [
            (LINE.to_vec(), "192.0.2.1:56324 198.51.100.2:443 false"),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), "[2001:db8::1]:1 [2001:db8::2]:2 false"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "own server false"),
            (secure(), "192.0.2.1:56324 198.51.100.2:443 true"),
            (version_2(0x21, 0x21, &six), six_told),
            (version_2(0x21, 0x31, &[b'x'; 216]), "own server false"),
            (version_2(0x20, 0x00, b""), "own server false"),
        ] {
            for size in [1, 7, 1000] {
                assert_eq!(who(server.addr, &header, size).await, told, "{mode:?} {header:?}");
            }
        }
    }
}

#[tokio::test]
async fn header_precedes_tls() {
    use endpoint_runtime::Trust;
    let tls = TlsConfig::self_signed(["localhost"]).unwrap();
    let trust = Trust::only(tls.certificate_pem()).unwrap();
    let server = TestServer::serving(builder().tls(tls).proxy_protocol(ProxyProtocol::Optional)).await;
    // a relay that tells whose connection it forwards
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, target) = (relay.local_addr().unwrap().port(), server.addr);
    let relaying = tokio::spawn(async move {
        for header in [LINE, b""] {
            let (mut client, _) = relay.accept().await.unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            server.write_all(header).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    });
    for told in ["192.0.2.1:56324 198.51.100.2:443 true", "127.0.0.1:"] {
        let heard = support::Journal::default();
        let container = ClientContainer::builder().trust(trust.clone()).build();
        let request = container.request(format!("wss://localhost:{port}/who"));
        let session = soon(request.connect(support::ear::Ear(heard.clone()))).await.unwrap();
        session.async_remote().send_text("?");
        let next = heard.next().await;
        assert!(next.starts_with(told) && next.ends_with(" true"), "{next}");
        session.close();
    }
    soon(relaying).await.unwrap();
}

#[tokio::test]
async fn connection_without_a_valid_header_is_closed_and_logged_once_a_second() {
    let log = Log::capture();
    let server = TestServer::serving(builder().proxy_protocol(ProxyProtocol::Required)).await;
    let request = b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for junk in [
        &request[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 \xff",
        &[b'P'; 200],
        &version_2(0x21, 0x11, &[0; 5000]),
        &version_2(0x29, 0x11, &[0; 12]),
    ] {
        assert_eq!(answer(server.addr, junk).await, "", "{junk:?}");
    }
    let lines = log.lines("no valid PROXY protocol header");
    assert!((1..=3).contains(&lines.len()) && lines[0].contains("WARN"), "{lines:?}");
    assert!(lines[0].contains("begins with something else"), "{lines:?}");
    // a valid one is served all the same
    assert!(who(server.addr, LINE, 100).await.starts_with("192.0.2.1:56324 "));
}

#[tokio::test]
async fn optional_header_lets_other_clients_through() {
    let server = TestServer::serving(builder().proxy_protocol(ProxyProtocol::Optional)).await;
    for size in [1, 1000] {
        assert_eq!(who(server.addr, b"", size).await, "own server false");
    }
    // what begins like a header, and is none
    let bad = answer(server.addr, b"PROXY TCP4 nonsense\r\n").await;
    assert_eq!(bad, "");
    let other = answer(server.addr, b"PROPFIND /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(other.starts_with("HTTP/1.1 4"), "{other}");
}

#[tokio::test]
async fn header_without_the_setting_is_a_bad_request() {
    let server = TestServer::serving(builder()).await;
    let bad = answer(server.addr, &[LINE, b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).await;
    assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
    let twice = builder().proxy_protocol(ProxyProtocol::Off).proxy_protocol(ProxyProtocol::Optional);
    let error = twice.bind("127.0.0.1:0").await.unwrap_err();
    assert!(error.to_string().contains("`proxy_protocol` is set twice"), "{error}");
}

#[tokio::test]
async fn limit_of_an_address_counts_the_client_of_the_header() {
    let settings = builder().proxy_protocol(ProxyProtocol::Optional).max_connections_per_address(1);
    let server = TestServer::serving(settings).await;
    let header = |client: u8| format!("PROXY TCP4 192.0.2.{client} 198.51.100.2 1 443\r\n");
    let open = |client: u8| async move {
        let mut stream = soon(TcpStream::connect(server.addr)).await.unwrap();
        stream.write_all(header(client).as_bytes()).await.unwrap();
        stream
    };
    let first = Client::upgrade(open(1).await, "/who").await;
    let second = Client::upgrade(open(2).await, "/who").await;
    // no request is needed for the answer
    let mut third = open(1).await;
    let mut refused = String::new();
    soon(third.read_to_string(&mut refused)).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 5\r\n"), "{refused}");
    drop(first);
    // as soon as the server has seen the end
    soon(async {
        loop {
            let (mut stream, mut refused) = (open(1).await, [0; 12]);
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            stream.read_exact(&mut refused).await.unwrap();
            if &refused == b"HTTP/1.1 404" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(second);
}
