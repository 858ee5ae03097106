//! Connections of HTTP/2, and a bridge that lets the raw client, which speaks HTTP/1.1, use one: a handshake of HTTP/1.1
//! becomes an extended CONNECT (RFC 8441), and then bytes pass in both directions, each as far as the other end takes them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{LazyLock, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The longest anything here waits for the server.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether `Client::connect` is to use HTTP/2: `ENDPOINT_TEST_HTTP2=1`.
pub fn is_asked_for() -> bool {
    std::env::var_os("ENDPOINT_TEST_HTTP2").is_some_and(|value| value == "1")
}

/// A connection of HTTP/2 as a client. A clone is the same connection.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    authority: String,
}

impl Connection {
    /// Connects without TLS, with prior knowledge.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.unwrap(), &addr.to_string()).await.unwrap()
    }

    /// Speaks HTTP/2 on `io`, and waits for the server's settings.
    pub async fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        authority: &str,
    ) -> Result<Self, h2::Error> {
        let (sender, connection) = h2::client::Builder::new().handshake::<_, Bytes>(io).await?;
        let mut connection = Box::pin(connection);
        let settings = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.and(Err(Reason::HTTP_1_1_REQUIRED.into()))),
            Poll::Pending if sender.is_extended_connect_protocol_enabled() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        });
        tokio::time::timeout(LIMIT, settings).await.expect("the server sends SETTINGS_ENABLE_CONNECT_PROTOCOL")?;
        // it ends with the server, or when no clone and no stream is left
        tokio::spawn(connection);
        Ok(Self { sender, authority: authority.to_owned() })
    }

    /// Sends a request, with `protocol` an extended CONNECT, and waits for the answer.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        protocol: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<(Response<RecvStream>, SendStream<Bytes>), h2::Error> {
        let mut request = Request::builder().method(&method).version(Version::HTTP_2);
        request = if method == Method::CONNECT && protocol.is_none() {
            request.uri(&self.authority)
        } else {
            request.uri(format!("http://{}{path}", self.authority))
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from(protocol));
        }
        let mut sender = tokio::time::timeout(LIMIT, self.sender.clone().ready()).await.expect("room for a stream")?;
        // the stream of a tunnel stays open, a page has no body
        let (response, stream) = sender.send_request(request, method != Method::CONNECT)?;
        Ok((tokio::time::timeout(LIMIT, response).await.expect("an answer")?, stream))
    }

    /// Asks for a WebSocket, and gives the status and the streams.
    pub async fn connect(&self, path: &str, headers: &[(&str, &str)]) -> (Response<RecvStream>, SendStream<Bytes>) {
        let headers = [&[("sec-websocket-version", "13")], headers].concat();
        self.request(Method::CONNECT, path, Some("websocket"), &headers).await.unwrap()
    }

    /// Opens a WebSocket, for the raw client.
    pub async fn client(&self, path: &str) -> super::Client {
        let (answer, client) = self.try_client(path, &[]).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        client
    }

    /// As [`client`](Self::client), with more headers, and takes a refusal for an answer.
    pub async fn try_client(&self, path: &str, headers: &[&str]) -> (super::Answer, super::Client) {
        let addr = self.authority.parse().unwrap();
        super::Client::handshake(self.listen().await, addr, path, headers).await
    }

    /// Waits for one client of HTTP/1.1, and bridges it to a stream.
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, connection) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            // a client that leaves early is what some tests are about
            let _ = connection.serve(client).await;
        });
        addr
    }

    /// Bridges one client of HTTP/1.1 to a stream of this connection.
    pub async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if client.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let early = read.split_off(end);
        let head = String::from_utf8(read).map_err(io::Error::other)?;
        let mut lines = head.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("/");
        let headers: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let key = headers.iter().find(|(name, _)| name == "sec-websocket-key").map_or("", |(_, value)| *value);
        // what has no meaning in HTTP/2
        let dropped = ["connection", "host", "sec-websocket-key", "upgrade"];
        let kept: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| !dropped.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let answer = self.request(Method::CONNECT, path, Some("websocket"), &kept).await;
        let (response, sending) = answer.map_err(io::Error::other)?;
        let (head, mut receiving) = response.into_parts();
        if head.status != StatusCode::OK {
            let mut body = Vec::new();
            while let Some(data) = receiving.data().await {
                let data = data.map_err(io::Error::other)?;
                let _ = receiving.flow_control().release_capacity(data.len());
                body.extend_from_slice(&data);
            }
            let length = if head.headers.contains_key("content-length") {
                String::new()
            } else {
                format!("content-length: {}\r\n", body.len())
            };
            let answer = format!("HTTP/1.1 {}\r\n{length}{}\r\n", head.status, lines_of(&head.headers));
            return client.write_all(&[answer.as_bytes(), &body].concat()).await;
        }
        let accept = derive_accept_key(key.as_bytes());
        let upgraded = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n{}\r\n",
            lines_of(&head.headers)
        );
        client.write_all(upgraded.as_bytes()).await?;
        let (from, to) = client.into_split();
        let up = send(from, sending, early.into());
        let down = receive(receiving, to);
        // what is received counts: at its end nothing can be sent any more, unless it ended in order
        let (mut up, mut down) = (pin!(up), pin!(down));
        tokio::select! {
            ended = down.as_mut() => if ended.is_ok() { up.await },
            () = up.as_mut() => down.await.unwrap_or_default(),
        }
        Ok(())
    }
}

fn lines_of(headers: &HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect()
}

/// From the client to the stream, as fast as the server takes it.
async fn send(mut from: OwnedReadHalf, mut to: SendStream<Bytes>, mut data: Bytes) {
    loop {
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            // it waits for more capacity, even if there is enough
            let more =
                if to.capacity() > 0 { Some(Ok(to.capacity())) } else { poll_fn(|cx| to.poll_capacity(cx)).await };
            match more {
                Some(Ok(room)) => {
                    let part = data.split_to(room.min(data.len()));
                    if !part.is_empty() && to.send_data(part, false).is_err() {
                        return;
                    }
                }
                // reset by the server
                Some(Err(_)) | None => return,
            }
        }
        let mut buffer = Vec::with_capacity(16 << 10);
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read,
            _ = poll_fn(|cx| to.poll_reset(cx)) => return,
        };
        match read {
            Ok(0) => {
                let _ = to.send_data(Bytes::new(), true);
                return;
            }
            Ok(_) => data = buffer.into(),
            Err(_) => return to.send_reset(Reason::CANCEL),
        }
    }
}

/// From the stream to the client, as fast as the client takes it. An error if the stream was reset.
async fn receive(mut from: RecvStream, mut to: OwnedWriteHalf) -> Result<(), h2::Error> {
    while let Some(data) = from.data().await {
        let data = data?;
        if to.write_all(&data).await.is_err() {
            return Err(Reason::CANCEL.into());
        }
        let _ = from.flow_control().release_capacity(data.len());
    }
    let _ = to.shutdown().await;
    Ok(())
}

/// Streams that a connection of [`shared`] gets before there is another.
const STREAMS: usize = 50;

/// A connection to `addr` that has room for a stream: clients of one server share connections.
pub async fn shared(addr: SocketAddr) -> Connection {
    static OPEN: LazyLock<Mutex<HashMap<SocketAddr, (Connection, usize)>>> = LazyLock::new(Mutex::default);
    let shared = OPEN.lock().unwrap().get_mut(&addr).filter(|(_, used)| *used < STREAMS).map(|(connection, used)| {
        *used += 1;
        connection.clone()
    });
    if let Some(connection) = shared {
        // it may be of a test that is over
        if connection.sender.clone().ready().await.is_ok() {
            return connection;
        }
    }
    let connection = Connection::open(addr).await;
    OPEN.lock().unwrap().insert(addr, (connection.clone(), 1));
    connection
}

/// The address of a bridge to `addr`, for one client.
pub async fn bridge(addr: SocketAddr) -> SocketAddr {
    shared(addr).await.listen().await
}
