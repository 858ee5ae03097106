//! The future of a container's response.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

/// Response future of a container for one request.
///
/// It is ready at once, unless the endpoint has a [`Configurator`](crate::Configurator), which may wait.
#[derive(Debug)]
pub struct ResponseFuture(Answer);

enum Answer {
    Ready(Option<Response<Full<Bytes>>>),
    Waiting(Waiting),
}

type Waiting = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Ready(_)) { "Ready" } else { "Waiting" })
    }
}

impl ResponseFuture {
    /// The response of a configurator that may wait.
    pub(super) fn waiting(response: impl Future<Output = Response<Full<Bytes>>> + Send + 'static) -> Self {
        Self(Answer::Waiting(Box::pin(response)))
    }
}

impl ResponseFuture {
    /// The response, or the future of one that is yet to come.
    pub(super) fn into_ready(
        self,
    ) -> Result<Response<Full<Bytes>>, impl Future<Output = Response<Full<Bytes>>> + Send> {
        match self.0 {
            Answer::Ready(Some(response)) => Ok(response),
            // it is not polled before
            Answer::Ready(None) => Err(Box::pin(std::future::pending()) as Waiting),
            Answer::Waiting(waiting) => Err(waiting),
        }
    }
}

impl From<Response<Full<Bytes>>> for ResponseFuture {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Self(Answer::Ready(Some(response)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // `None` only if polled again after completion
            Answer::Ready(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Answer::Waiting(waiting) => waiting.as_mut().poll(cx).map(Ok),
        }
    }
}
