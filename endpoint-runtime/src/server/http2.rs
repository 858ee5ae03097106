//! HTTP/2 connections of a server: their settings, their streams, and when they end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::when_woken::when_woken;
use crate::config::{
    HTTP2_GOAWAY_TIMEOUT, HTTP2_IDLE_TIMEOUT, HTTP2_MAX_PENDING_RESETS, HTTP2_MAX_STREAMS, HTTP2_PING_INTERVAL,
    HTTP2_PING_TIMEOUT, HTTP2_STREAM_WINDOW,
};
use crate::error::Error;
use crate::handshake::head::HeadLimits;
use crate::transport::http2_stream::StreamEnd;

/// The largest window of HTTP/2 (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The window of a connection, in full windows of all its streams. At one, a stream that is not read never stops the
/// others. The rest is for small frames: the h2 crate closes a connection that makes it hold small frames of more
/// overhead than half of this window (`ENHANCE_YOUR_CALM`).
const CONNECTION_WINDOWS: u32 = 4;

/// Limits of the HTTP/2 connections of a [`Server`](crate::Server) (cargo feature `http2`); see
/// [`ServerBuilder::http2`](crate::ServerBuilder::http2).
///
/// The size of a request head is limited by
/// [`max_request_head`](crate::ServerBuilder::max_request_head), as over HTTP/1.1.
///
/// ```no_run
/// # use std::time::Duration;
/// # use endpoint_runtime::{Error, Http2, Server};
/// # async fn f() -> Result<(), Error> {
/// let http2 = Http2::new().max_streams(1_000).idle_timeout(Duration::from_secs(300));
/// Server::builder().http2(http2).bind("0.0.0.0:8080").await?.run().await
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "pass it to ServerBuilder::http2"]
pub struct Http2 {
    max_streams: u32,
    stream_window: u32,
    idle_timeout: Duration,
    ping_interval: Option<Duration>,
    ping_timeout: Duration,
    max_pending_resets: usize,
}

impl Http2 {
    /// The default limits.
    pub fn new() -> Self {
        Self {
            max_streams: HTTP2_MAX_STREAMS,
            stream_window: HTTP2_STREAM_WINDOW,
            idle_timeout: HTTP2_IDLE_TIMEOUT,
            ping_interval: Some(HTTP2_PING_INTERVAL),
            ping_timeout: HTTP2_PING_TIMEOUT,
            max_pending_resets: HTTP2_MAX_PENDING_RESETS,
        }
    }

    /// Maximum number of open streams of a connection (`SETTINGS_MAX_CONCURRENT_STREAMS`, RFC 9113 §6.5.2). Each
    /// WebSocket is a stream for as long as it is open, and so is each request for a page until it is answered. A client
    /// opens no further stream, or a second connection; a stream beyond the limit is refused. Default: 200.
    ///
    /// A proxy that carries the WebSockets of many users on one connection may need more.
    pub fn max_streams(mut self, max: u32) -> Self {
        self.max_streams = max;
        self
    }

    /// Maximum number of bytes that a client may send on a stream before they are read
    /// (`SETTINGS_INITIAL_WINDOW_SIZE`, RFC 9113 §6.9.2): a session whose handler is slow stops its peer after this
    /// many, and no other. A connection thus holds at most [`max_streams`](Self::max_streams) times as many bytes, which
    /// must be below 2 GiB. It also limits a stream to one window per round trip. Default: 64 KiB.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes;
        self
    }

    /// Maximum time that a connection has no stream: from its beginning to the first request, and after the last stream
    /// has ended. Then the client gets GOAWAY, and the connection is closed. Default: one minute.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = limit;
        self
    }

    /// Time without a frame of the client after which the connection is pinged (RFC 9113 §6.7); `None` sends no pings.
    /// One ping serves all sessions of the connection, in addition to their own
    /// [pings](crate::ServerBuilder::ping_interval). Default: 30 seconds.
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into();
        self
    }

    /// Maximum time until the answer to such a ping; then the connection and its sessions end. Default: 30 seconds.
    pub fn ping_timeout(mut self, limit: Duration) -> Self {
        self.ping_timeout = limit;
        self
    }

    /// Maximum number of streams that the client has reset before the server has looked at them: protects against
    /// floods of requests that are reset at once (CVE-2023-44487). One more closes the connection
    /// (`ENHANCE_YOUR_CALM`). Default: 20.
    pub fn max_pending_resets(mut self, max: usize) -> Self {
        self.max_pending_resets = max;
        self
    }

    /// The values that cannot be used.
    pub(super) fn mistakes(&self) -> impl Iterator<Item = String> + use<> {
        let window = u64::from(self.max_streams) * u64::from(self.stream_window);
        let mistakes = [
            (self.max_streams == 0, "Http2::max_streams must be at least 1"),
            (self.stream_window == 0, "Http2::stream_window must be at least 1 byte"),
            (window > u64::from(MAX_WINDOW), "Http2::max_streams times Http2::stream_window must be below 2 GiB"),
            (self.idle_timeout.is_zero(), "Http2::idle_timeout must be longer than 0"),
            (self.ping_interval.is_some_and(|it| it.is_zero()), "Http2::ping_interval must be longer than 0"),
            (self.ping_timeout.is_zero(), "Http2::ping_timeout must be longer than 0"),
        ];
        mistakes.into_iter().filter(|(is_mistake, _)| *is_mistake).map(|(_, text)| text.to_owned())
    }

    fn builder(&self, limits: HeadLimits, streams: Streams) -> http2::Builder<Streams> {
        let mut http = http2::Builder::new(streams);
        http.timer(TokioTimer::new());
        http.enable_connect_protocol();
        http.max_concurrent_streams(self.max_streams);
        http.initial_stream_window_size(self.stream_window);
        let window = self.stream_window.saturating_mul(self.max_streams).saturating_mul(CONNECTION_WINDOWS);
        http.initial_connection_window_size(window.min(MAX_WINDOW));
        http.max_header_list_size(u32::try_from(limits.most_bytes()).unwrap_or(u32::MAX));
        http.max_pending_accept_reset_streams(self.max_pending_resets);
        http.keep_alive_interval(self.ping_interval).keep_alive_timeout(self.ping_timeout);
        http
    }
}

/// Same as [`Http2::new`].
impl Default for Http2 {
    fn default() -> Self {
        Self::new()
    }
}

tokio::task_local! {
    /// The end of the stream that the current task answers.
    static END: StreamEnd;
}

/// What an HTTP/2 connection is served with.
pub(super) struct Serving {
    pub(super) settings: Http2,
    pub(super) limits: HeadLimits,
    pub(super) peer: Option<SocketAddr>,
    /// The tracker of the server, for the tasks of streams.
    pub(super) tasks: TaskTracker,
    /// Graceful stop: GOAWAY, then let the streams finish.
    pub(super) stop: CancellationToken,
    /// Abort: drop the connection.
    pub(super) cut: CancellationToken,
}

/// Serves HTTP/2 until the connection ends, the client has had no stream for the idle timeout, or the server stops.
pub(super) async fn serve<F, B>(
    serving: Serving,
    io: impl Read + Write + Unpin + Send + 'static,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<Response<B>, Error>> + Send + 'static,
    B: Body<Data = Bytes, Error = Error> + Send + 'static,
{
    let Serving { settings, limits, peer, tasks, stop, cut } = serving;
    let streams = Streams::new(tasks);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            // awaited in the task of the stream
            if let Ok(end) = END.try_with(StreamEnd::clone) {
                request.extensions_mut().insert(end);
            }
            answer(request).await
        }
    });
    let mut connection = pin!(settings.builder(limits, streams.clone()).serve_connection(io, service));
    let served = tokio::select! {
        served = connection.as_mut() => Some(served),
        // `when_woken`: every poll of a token takes locks that all connections of the server share
        () = when_woken(stop.cancelled()) => None,
        () = streams.idle(settings.idle_timeout) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            // GOAWAY: no further streams; the open ones end before the connection does
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = streams.abandoned() => Ok(()),
                () = when_woken(cut.cancelled()) => Ok(()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, ?peer, "an HTTP/2 connection failed");
    }
}

/// The streams of a connection, each in a task of its own. A clone is of the same connection.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    open: Arc<Open>,
}

struct Open {
    count: AtomicUsize,
    /// When the count became zero.
    idle_since: Mutex<Instant>,
}

impl Streams {
    fn new(tasks: TaskTracker) -> Self {
        Self { tasks, open: Arc::new(Open { count: AtomicUsize::new(0), idle_since: Mutex::new(Instant::now()) }) }
    }

    /// Counts a task of a stream until the result is dropped.
    fn count(&self) -> Counted {
        self.open.count.fetch_add(1, Ordering::Relaxed);
        Counted(self.open.clone())
    }

    /// Resolves when there has been no stream for this long.
    async fn idle(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let since = if self.open.count.load(Ordering::Relaxed) > 0 {
                now
            } else {
                *self.open.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
            };
            match since.checked_add(limit) {
                Some(end) if end <= now => return,
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Resolves when a client that got GOAWAY has no stream and does not close the connection.
    async fn abandoned(&self) {
        // a client that is alive answers meanwhile
        sleep(HTTP2_GOAWAY_TIMEOUT).await;
        self.idle(HTTP2_GOAWAY_TIMEOUT).await;
    }
}

/// hyper runs two futures of a stream: one that answers the request, and, started by it, one that sends what the session
/// of an accepted handshake writes.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let counted = self.count();
        match END.try_with(StreamEnd::clone) {
            Ok(end) => self.tasks.spawn(async move {
                let _counted = counted;
                tokio::select! {
                    biased;
                    // dropping the future resets the stream
                    () = end.dropped() => {}
                    () = future => {}
                }
            }),
            Err(_) => self.tasks.spawn(async move {
                let _counted = counted;
                END.scope(StreamEnd::default(), future).await;
            }),
        };
    }
}

struct Counted(Arc<Open>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}
