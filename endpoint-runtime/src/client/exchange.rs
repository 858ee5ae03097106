//! The opening handshake on a socket that is there: the request goes out, the answer is judged, the socket comes back.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use tokio::time::{Instant, timeout_at};

use crate::config::{ANSWER_BODY, ANSWER_HEAD};
use crate::error::{Error, Kind};
use crate::extension::Extension;
use crate::handshake::offer::Offer;
use crate::registry::Upgraded;
use crate::service::take_socket;

/// What a server agreed to.
pub(crate) struct Agreed {
    pub(crate) upgraded: Upgraded,
    /// Frames that came along with the answer.
    pub(crate) early: Bytes,
    pub(crate) response: Response<()>,
    pub(crate) extension: Option<Extension>,
}

/// Sends the request, whose `offer` it carries, and waits for the answer. If it is none that opens a session the socket
/// is closed, and the error has the answer.
///
/// Dropped, it closes the socket.
pub(crate) async fn exchange<T>(
    io: T,
    request: Request<Empty<Bytes>>,
    offer: &Offer,
    deadline: Instant,
) -> Result<Agreed, Error>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_header_size(ANSWER_HEAD).handshake(io).await.map_err(failed)?;
    // it ends when the socket is handed over, or in a failure that whoever waits for the answer hears of as well
    let mut connection = pin!(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an HTTP connection failed");
        }
        pending::<Infallible>().await
    });
    let answer = async {
        let late = |_| Error::new(Kind::Timeout, "the server did not answer the handshake in time");
        let response = timeout_at(deadline, sender.send_request(request)).await.map_err(late)?.map_err(failed)?;
        let extension = match offer.check(response.version(), response.status(), response.headers()) {
            Ok(extension) => extension,
            Err(mistake) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Error::answered(mistake, plain(&response).map(|()| Bytes::new())));
            }
            Err(_) => return Err(refused(response, deadline).await),
        };
        let kept = plain(&response);
        let (upgraded, early) = take_socket(hyper::upgrade::on(response).await.map_err(failed)?);
        Ok(Agreed { upgraded, early, response: kept, extension })
    };
    tokio::select! {
        biased;
        agreed = answer => agreed,
        never = connection.as_mut() => match never {},
    }
}

fn failed(error: hyper::Error) -> Error {
    Error::with_source(Kind::Handshake, format!("the server did not answer the handshake: {error}"), error)
}

/// The answer of a server that wants no session, with what it has to say, up to a limit and the deadline.
async fn refused(response: Response<Incoming>, deadline: Instant) -> Error {
    let answer = plain(&response);
    let mut body = response.into_body();
    let mut said = Vec::new();
    while said.len() < ANSWER_BODY {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                said.extend_from_slice(&data[..data.len().min(ANSWER_BODY - said.len())]);
            }
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    let text = format!("the server refused the handshake: {}", answer.status());
    Error::answered(text, answer.map(|()| said.into()))
}

/// Status and headers alone: hyper keeps the socket among what else is in an answer.
fn plain<B>(response: &Response<B>) -> Response<()> {
    let mut plain = Response::new(());
    (*plain.status_mut(), *plain.version_mut()) = (response.status(), response.version());
    plain.headers_mut().clone_from(response.headers());
    plain
}
