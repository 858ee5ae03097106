//! The container as a layer around another service: it takes requests for endpoints and passes the rest through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::response::ResponseFuture;
use super::service::{Routed, ServerContainer};
use crate::handshake::request::Transport;

impl ServerContainer {
    /// A `tower` layer: requests to the path of an endpoint are accepted or refused as by the container itself; every
    /// other request passes unchanged to the inner service.
    ///
    /// ```no_run
    /// # use endpoint_runtime::{Error, ServerContainer};
    /// # fn f() -> Result<(), Error> {
    /// let container = ServerContainer::builder().discover().build()?;
    /// let app = axum::Router::new().fallback(|| async { "for no endpoint" }).layer(container.layer());
    /// # let _: axum::Router = app;
    /// # Ok(()) }
    /// ```
    ///
    /// Outer layers see its responses, but not the upgraded connections.
    pub fn layer(&self) -> ContainerLayer {
        ContainerLayer(self.clone())
    }
}

/// Puts a container around services; see [`ServerContainer::layer`].
#[derive(Clone, Debug)]
pub struct ContainerLayer(ServerContainer);

impl<S> Layer<S> for ContainerLayer {
    type Service = ContainerService<S>;

    fn layer(&self, inner: S) -> ContainerService<S> {
        ContainerService { container: self.0.clone(), inner }
    }
}

/// A container around the service `S`; see [`ServerContainer::layer`].
#[derive(Clone, Debug)]
pub struct ContainerService<S> {
    container: ServerContainer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ContainerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ContainerBody<R>>;
    type Error = S::Error;
    type Future = LayerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> LayerFuture<S::Future> {
        match self.container.respond(request, Transport::default()) {
            Routed::Ours(answer) => LayerFuture { answer: Some(answer), passed: None },
            Routed::Theirs(request) => LayerFuture { answer: None, passed: Some(self.inner.call(request)) },
        }
    }
}

pin_project! {
    /// Response future of a [`ContainerService`]: the response of the container or of the inner service.
    #[must_use = "futures do nothing unless polled"]
    pub struct LayerFuture<F> {
        answer: Option<ResponseFuture>,
        #[pin]
        passed: Option<F>,
    }
}

impl<F, R, E> Future for LayerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ContainerBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(answer) = this.answer {
            let Ok(answer) = ready!(Pin::new(answer).poll(cx));
            return Poll::Ready(Ok(answer.map(|body| ContainerBody { own: Some(body), passed: None })));
        }
        match this.passed.as_pin_mut() {
            Some(passed) => Poll::Ready(Ok(ready!(passed.poll(cx))?.map(ContainerBody::passed))),
            // polled again after completion
            None => Poll::Pending,
        }
    }
}

impl<F> fmt::Debug for LayerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerFuture").field("ours", &self.answer.is_some()).finish_non_exhaustive()
    }
}

pin_project! {
    /// Response body of a [`ContainerService`]: the body of the container or of the inner service.
    #[derive(Debug)]
    pub struct ContainerBody<R> {
        own: Option<Full<Bytes>>,
        #[pin]
        passed: Option<R>,
    }
}

impl<R> ContainerBody<R> {
    fn passed(body: R) -> Self {
        Self { own: None, passed: Some(body) }
    }
}

/// Other layers respond with an empty body of the service's type.
impl<R: Default> Default for ContainerBody<R> {
    fn default() -> Self {
        Self::passed(R::default())
    }
}

impl<R: Body<Data = Bytes>> Body for ContainerBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let this = self.project();
        match (this.own, this.passed.as_pin_mut()) {
            (Some(own), _) => Pin::new(own).poll_frame(cx).map_err(|never| match never {}),
            (None, Some(passed)) => passed.poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match (&self.own, &self.passed) {
            (Some(own), _) => own.is_end_stream(),
            (None, passed) => passed.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.own, &self.passed) {
            (Some(own), _) => own.size_hint(),
            (None, Some(passed)) => passed.size_hint(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}
