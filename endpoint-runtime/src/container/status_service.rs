//! Answers for operators as tower services: metrics, statistics, health and readiness.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tower_service::Service;

use super::service::ServerContainer;
use super::stats_json;
use crate::cluster::HealthStatus;

/// Services for operators. None of them checks who asks: serve them on a port that the internet cannot reach, or behind a
/// layer that does.
impl ServerContainer {
    /// A service that answers GET with all metrics, as a page for Prometheus (text format 0.0.4). It needs no cargo
    /// feature and no exporter.
    ///
    /// ```
    /// # use endpoint_runtime::ServerContainer;
    /// fn admin(container: &ServerContainer) -> axum::Router {
    ///     axum::Router::new()
    ///         .route_service("/metrics", container.metrics_service())
    ///         .route_service("/healthz", container.health_service())
    ///         .route_service("/readyz", container.readiness_service())
    ///         .route_service("/stats", container.stats_service())
    /// }
    /// ```
    pub fn metrics_service(&self) -> StatusService {
        self.status_service(Page::Metrics)
    }

    /// A service that answers GET with [`stats`](Self::stats) as JSON.
    pub fn stats_service(&self) -> StatusService {
        self.status_service(Page::Stats)
    }

    /// A service that answers GET with [`health`](Self::health) as JSON. The status is 200 as long as the process serves,
    /// also while it is degraded or draining: a supervisor that restarts it then would only end the sessions that work.
    /// See [`fail_when_degraded`](StatusService::fail_when_degraded).
    pub fn health_service(&self) -> StatusService {
        self.status_service(Page::Health)
    }

    /// A service that answers GET with [`health`](Self::health) as JSON: with 200 while new sessions are welcome, and
    /// with 503 from the beginning of a shutdown on, so that a load balancer sends clients elsewhere.
    pub fn readiness_service(&self) -> StatusService {
        self.status_service(Page::Readiness)
    }

    fn status_service(&self, page: Page) -> StatusService {
        StatusService { container: self.clone(), page, fails_when_degraded: false }
    }
}

/// A tower service that answers GET and HEAD with a page about a container, whatever the path, and 405 to every other
/// method. Made by [`ServerContainer::metrics_service`] and its neighbours.
#[derive(Clone)]
pub struct StatusService {
    container: ServerContainer,
    page: Page,
    fails_when_degraded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Metrics,
    Stats,
    Health,
    Readiness,
}

impl StatusService {
    /// Has a health or readiness service answer 503 also while the container is degraded, such as without its cluster's
    /// engine. Default: it answers 200 then, because local sessions are served. Metrics and statistics do not change.
    #[must_use]
    pub fn fail_when_degraded(mut self) -> Self {
        self.fails_when_degraded = true;
        self
    }

    fn answer(&self, method: &Method) -> Response<Full<Bytes>> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is answered\n".to_owned());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self.page {
            Page::Metrics => response(StatusCode::OK, PROMETHEUS, self.container.stats().metrics().to_string()),
            Page::Stats => response(StatusCode::OK, JSON, self.container.stats().to_json()),
            Page::Health | Page::Readiness => {
                let health = self.container.health();
                let is_unready = self.page == Page::Readiness && health.is_draining;
                let is_failed = self.fails_when_degraded && health.status != HealthStatus::Healthy;
                let status = if is_unready || is_failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                response(status, JSON, stats_json::health(&health))
            }
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A response that no cache keeps.
fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<B> Service<Request<B>> for StatusService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method())))
    }
}

impl fmt::Debug for StatusService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusService").field("page", &self.page).finish_non_exhaustive()
    }
}
