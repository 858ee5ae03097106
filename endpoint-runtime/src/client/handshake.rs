//! The opening handshake on a connected socket: sends the request, checks the response, returns the socket.

use std::convert::Infallible;
use std::future::{Future, pending};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::proxy::Hop;
use super::uri::Target;

use crate::config::{ANSWER_BODY, ANSWER_BODY_TIMEOUT};
use crate::container::serving::Upgraded;
use crate::container::take_socket;
use crate::error::{Error, Kind};
use crate::handshake::client::{Agreement, Offer};
use crate::handshake::head::{HYPER_BUFFER, HeadLimits};
use endpoint_wire::extension::Extension;

/// The result of a successful handshake.
pub(crate) struct Agreed {
    pub(crate) upgraded: Upgraded,
    /// Frames that arrived together with the response.
    pub(crate) early: Bytes,
    pub(crate) response: Response<()>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) extension: Option<Extension>,
}

/// Sends the request, which carries `offer`, and waits for the response. If the response does not open a session, the
/// socket is closed and the error carries the response.
///
/// A dropped future closes the socket.
pub(crate) async fn exchange<T>(
    io: T,
    request: Request<Empty<Bytes>>,
    offer: &Offer,
    limits: HeadLimits,
    deadline: Instant,
) -> Result<Agreed, Error>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let failed = |error| failed(error, limits, "the server", "the server did not complete the handshake");
    let (mut sender, connection) = http_of(limits).handshake(io).await.map_err(failed)?;
    let answer = async {
        let late = |_| Error::new(Kind::Timeout, "the handshake with the server timed out");
        let response = timeout_at(deadline, sender.send_request(request)).await.map_err(late)?.map_err(failed)?;
        let Agreement { subprotocol, extension } =
            match offer.check(response.version(), response.status(), response.headers()) {
                Ok(agreement) => agreement,
                Err(mistake) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(Error::answered(mistake, plain(&response).map(|()| Bytes::new())));
                }
                Err(_) => return Err(refused(response, "the server", deadline).await),
            };
        let kept = plain(&response);
        let (upgraded, early) = take_socket(hyper::upgrade::on(response).await.map_err(failed)?);
        Ok(Agreed { upgraded, early, response: kept, subprotocol, extension })
    };
    drive(connection, answer).await
}

/// Asks a proxy for a tunnel to the server (RFC 9110 §9.3.6).
pub(crate) async fn tunnel(
    stream: TcpStream,
    target: &Target,
    hop: &Hop,
    limits: HeadLimits,
    deadline: Instant,
) -> Result<TcpStream, Error> {
    let no_tunnel = |why: String| Error::new(Kind::Handshake, format!("the proxy did not open a tunnel: {why}"));
    let failed = |error| failed(error, limits, "the proxy", "the proxy did not open a tunnel");
    let authority = target.place().parse().map_err(|error: http::uri::InvalidUri| no_tunnel(error.to_string()))?;
    let mut uri = Parts::default();
    uri.authority = Some(authority);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| no_tunnel(error.to_string()))?;
    let host = HeaderValue::try_from(target.place()).map_err(|error| no_tunnel(error.to_string()))?;
    request.headers_mut().insert(header::HOST, host);
    if let Some(authorization) = &hop.authorization {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    let (mut sender, connection) = http_of(limits).handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = async {
        let late = |_| Error::new(Kind::Timeout, "opening a tunnel through the proxy timed out");
        let response = timeout_at(deadline, sender.send_request(request)).await.map_err(late)?;
        let response = response.map_err(failed)?;
        if !response.status().is_success() {
            return Err(refused(response, "the proxy", deadline).await);
        }
        match take_socket(hyper::upgrade::on(response).await.map_err(failed)?) {
            (Upgraded::Tcp(stream, _), early) if early.is_empty() => Ok(stream),
            // an HTTP or TLS server waits for its client to send first, so early bytes are an error
            _ => Err(no_tunnel("it sent data before the client did".to_owned())),
        }
    };
    drive(connection, answer).await
}

/// Runs `answer` and drives its HTTP connection beside it.
async fn drive<T, R>(connection: http1::Connection<T, Empty<Bytes>>, answer: impl Future<Output = R>) -> R
where
    T: Read + Write + Unpin + Send + 'static,
{
    // the connection ends when the socket is handed over, or with a failure that `answer` reports as well
    let connection = async {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an HTTP connection failed");
        }
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        answered = answer => answered,
        never = connection => match never {},
    }
}

/// HTTP/1.1 with these limits for the head of the response.
fn http_of(limits: HeadLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_header_size(limits.bytes).max_headers(limits.headers);
    if limits.bytes > HYPER_BUFFER {
        http.max_buf_size(limits.bytes);
    }
    http
}

fn failed(error: hyper::Error, limits: HeadLimits, who: &str, what: &str) -> Error {
    if error.is_parse_too_large() {
        return limits.response_too_large(who, error);
    }
    Error::with_source(Kind::Handshake, format!("{what}: {error}"), error)
}

/// The error for a refusal, with its body as far as it arrives within a size limit and one second: a body that never
/// ends must not delay its status.
async fn refused(response: Response<Incoming>, who: &str, deadline: Instant) -> Error {
    let answer = plain(&response);
    let deadline = deadline.min(Instant::now() + ANSWER_BODY_TIMEOUT);
    let mut body = response.into_body();
    let mut content = Vec::new();
    while content.len() < ANSWER_BODY {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                content.extend_from_slice(&data[..data.len().min(ANSWER_BODY - content.len())]);
            }
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    let text = format!("{who} refused the handshake: {}", answer.status());
    Error::answered(text, answer.map(|()| content.into()))
}

/// Copies only status, version and headers: hyper keeps the socket in the response's extensions.
fn plain<B>(response: &Response<B>) -> Response<()> {
    let mut plain = Response::new(());
    (*plain.status_mut(), *plain.version_mut()) = (response.status(), response.version());
    plain.headers_mut().clone_from(response.headers());
    plain
}
