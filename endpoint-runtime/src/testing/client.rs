//! A client that sends exactly what a test specifies, and records everything that it receives.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connection::{Arrived, Leaving, Shared, close_frame, run};
use super::frame::TestFrame;
use super::transcript::{Direction, Traffic, Transcript};
use crate::client::handshake::Agreed;
use crate::container::serving::Upgraded;
use endpoint_wire::close::CloseCode;
use endpoint_wire::deflate::Inbound;
use endpoint_wire::message::Binary;
use endpoint_wire::text::Text;

/// Limit of a wait with a running clock: more than any in-memory operation takes on a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Limit of a wait with a paused clock: more than the limits of most endpoints, since it takes no real time.
const PAUSED: Duration = Duration::from_secs(60 * 60);

/// How long to wait for silence with a running clock.
const QUIET: Duration = Duration::from_millis(50);

/// A client of a [`TestServer`](super::TestServer): sends exactly what the test specifies, right or wrong.
///
/// It always reads, even if the test does not ask for messages: so the server meets a slow peer only where the test
/// asks for one ([`set_reading`](Self::set_reading)). Unread messages may take 256 MiB
/// ([`set_max_unread`](Self::set_max_unread)); above that the test fails, at its next use of the client or when it
/// drops it. Automatically the client does what a browser does: it answers pings, answers a close frame with another,
/// and closes the connection when the server does ([`set_silent`](Self::set_silent) stops that). Received messages are
/// kept in order until [`next`](Self::next) or one of the `expect_` methods reads them. An `expect_` method that finds
/// something else fails the test, and prints what came instead and the end of the [transcript](Self::transcript).
/// Answered pings are skipped, except by [`expect_ping`](Self::expect_ping).
///
/// Every wait has a limit: [`set_limit`](Self::set_limit).
///
/// A dropped client is gone without a close frame, as if its network failed.
///
/// # Cancel safety
/// A dropped wait for a message loses nothing. A send is on its way once the call has begun to wait.
pub struct TestClient {
    shared: Arc<Shared>,
    arriving: mpsc::UnboundedReceiver<Arrived>,
    leaving: mpsc::Sender<Leaving>,
    tasks: JoinSet<()>,
    response: Response<()>,
    subprotocol: Option<String>,
    limit: Option<Duration>,
}

impl TestClient {
    pub(super) fn open(agreed: Agreed, inbound: Option<Inbound>, is_silent: bool, mut tasks: JoinSet<()>) -> Self {
        let Agreed { upgraded, early, response, subprotocol, .. } = agreed;
        let shared = Arc::new(Shared::new(is_silent));
        let (arriving, leaving) = match upgraded {
            Upgraded::Tcp(stream, _) => run(&mut tasks, stream, early, inbound, &shared),
            Upgraded::Other(io) => run(&mut tasks, io, early, inbound, &shared),
            #[cfg(feature = "adopted")]
            Upgraded::Whole(io) => run(&mut tasks, io, early, inbound, &shared),
        };
        Self { shared, arriving, leaving, tasks, response, subprotocol, limit: None }
    }

    // ---- settings ----

    /// Whether the client does nothing automatically: no pong for a ping, no answer to a close frame, and it stays
    /// connected when the server closes. This lets a test reach a server's time limits.
    pub fn set_silent(&mut self, silent: bool) {
        self.shared.is_silent.store(silent, Ordering::Relaxed);
    }

    /// Whether the client reads. If not, about 64 KiB of the server's output are on their way before the server sees a
    /// slow peer.
    pub fn set_reading(&mut self, reading: bool) {
        self.shared.is_reading.send_replace(reading);
    }

    /// Maximum size of unread messages in bytes; each counts about a hundred bytes beside its payload. Default: 256
    /// MiB, which protects the machine from a test that forgets to read.
    ///
    /// # Panics
    /// Not here: the next call to the client, or its drop, panics once the maximum was exceeded.
    pub fn set_max_unread(&mut self, bytes: usize) {
        self.shared.max_unread.store(bytes, Ordering::Relaxed);
    }

    /// Limit of each wait, by tokio's clock. Default: ten seconds; with a paused clock one hour, which takes no real
    /// time.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = Some(limit);
    }

    /// The server's answer to the handshake: status 101 and its headers.
    pub fn response(&self) -> &Response<()> {
        &self.response
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// All traffic of the connection so far, in both directions. It is the only part of the client that grows without a
    /// bound.
    pub fn transcript(&self) -> Transcript {
        self.shared.transcript()
    }

    // ---- sending ----

    /// Sends a text message. Resolves when the connection has taken it, whether or not a handler has run. If the
    /// connection is gone, the message is dropped, as by a browser, and the transcript marks it as lost.
    ///
    /// # Panics
    /// The server does not take it within the limit.
    #[track_caller]
    pub fn send_text(&mut self, text: impl Into<Text>) -> impl Future<Output = ()> {
        let text = text.into();
        let frame = TestFrame::new(true, 1, text.as_bytes());
        self.write_traffic(Traffic::Text(text), frame.bytes())
    }

    /// Sends a binary message like [`send_text`](Self::send_text).
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text).
    #[track_caller]
    pub fn send_binary(&mut self, data: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let data = Binary::from(data.as_ref());
        let frame = TestFrame::new(true, 2, &data);
        self.write_traffic(Traffic::Binary(data), frame.bytes())
    }

    /// Sends a ping like [`send_text`](Self::send_text). A control frame has at most 125 bytes; to send more, use a
    /// [frame](Self::send).
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text).
    #[track_caller]
    pub fn send_ping(&mut self, data: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let data = Binary::from(data.as_ref());
        let frame = TestFrame::new(true, 9, &data);
        self.write_traffic(Traffic::Ping(data), frame.bytes())
    }

    /// Sends a pong, which may be unsolicited, like [`send_ping`](Self::send_ping).
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text).
    #[track_caller]
    pub fn send_pong(&mut self, data: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let data = Binary::from(data.as_ref());
        let frame = TestFrame::new(true, 10, &data);
        self.write_traffic(Traffic::Pong(data), frame.bytes())
    }

    /// Sends a close frame. Any code is sent unchanged, but [`CloseCode::NoStatusCode`] (1005) makes an empty frame. To
    /// wait for the server's own close frame, use [`expect_close`](Self::expect_close).
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text).
    #[track_caller]
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> impl Future<Output = ()> {
        let code = code.into();
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.write_traffic(Traffic::Close { code, reason: reason.into() }, close_frame(code, reason).bytes())
    }

    /// Sends a frame that may be wrong. The arguments are those of [`TestFrame::new`].
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text); or `opcode` is above 15.
    #[track_caller]
    pub fn send_frame(&mut self, fin: bool, opcode: u8, payload: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let frame = TestFrame::new(fin, opcode, payload);
        self.write_frame(frame)
    }

    /// Sends a frame unchanged: with reserved bits, without a mask, cut off.
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text).
    #[track_caller]
    pub fn send(&mut self, frame: TestFrame) -> impl Future<Output = ()> {
        self.write_frame(frame)
    }

    /// Sends bytes unchanged.
    ///
    /// # Panics
    /// As [`send_text`](Self::send_text).
    #[track_caller]
    pub fn send_raw(&mut self, bytes: impl Into<Bytes>) -> impl Future<Output = ()> {
        let bytes = bytes.into();
        self.write_traffic(Traffic::Raw(bytes.clone()), bytes)
    }

    /// Ends the connection without a close frame. Messages received before can still be read, followed by the end.
    pub async fn cut(&mut self) {
        self.tasks.shutdown().await;
        self.shared.note(Direction::Sent, Traffic::End);
    }

    #[track_caller]
    fn write_frame(&mut self, frame: TestFrame) -> impl Future<Output = ()> + use<'_> {
        if frame.is_close() {
            self.shared.is_closing.store(true, Ordering::Relaxed);
        }
        let bytes = frame.bytes();
        self.write_traffic(Traffic::Frame(frame), bytes)
    }

    #[track_caller]
    fn write_traffic(&mut self, what: Traffic, bytes: Bytes) -> impl Future<Output = ()> + use<'_> {
        let place = Location::caller();
        async move {
            self.check(place);
            let (done, written) = oneshot::channel();
            let limit = limit_of(self.limit);
            let late = |shared: &Shared| -> ! {
                panic!("{place}: the server did not read the sent data within {limit:?}{}", shared.end())
            };
            let deadline = Instant::now() + limit;
            let entry = match timeout_at(deadline, self.leaving.reserve()).await {
                Ok(Ok(permit)) => {
                    // noted first, so that it precedes its answer in the transcript
                    let entry = self.shared.note(Direction::Sent, what);
                    permit.send(Leaving::Bytes(bytes, entry, Some(done)));
                    entry
                }
                Ok(Err(_)) => {
                    let entry = self.shared.note(Direction::Sent, what);
                    return self.shared.lose(entry);
                }
                Err(_) => late(&self.shared),
            };
            match timeout_at(deadline, written).await {
                Ok(Ok(())) => {}
                // the writer has gone
                Ok(Err(_)) => self.shared.lose(entry),
                Err(_) => late(&self.shared),
            }
        }
    }

    // ---- receiving ----

    /// The next message, which may have been received already; answered pings are skipped. [`Traffic::End`] once the
    /// connection has ended, on every call.
    ///
    /// # Panics
    /// Nothing arrives within the limit.
    // named after the method of a stream, not of an iterator
    #[allow(clippy::should_implement_trait)]
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Traffic> {
        self.receive("something", false, Location::caller())
    }

    /// The next thing must be a text message; returns it.
    ///
    /// # Panics
    /// It is something else, or nothing within the limit.
    #[track_caller]
    pub fn next_text(&mut self) -> impl Future<Output = String> {
        self.expect("a text message".into(), false, |what| match what {
            Traffic::Text(text) => Ok(text.into()),
            other => Err(other),
        })
    }

    /// The next thing must be a binary message; returns it.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn next_binary(&mut self) -> impl Future<Output = Binary> {
        self.expect("a binary message".into(), false, |what| match what {
            Traffic::Binary(data) => Ok(data),
            other => Err(other),
        })
    }

    /// The next thing must be this text.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn expect_text(&mut self, text: &str) -> impl Future<Output = ()> + use<'_> {
        self.expect_exactly(Traffic::Text(text.into()), false)
    }

    /// The next thing must be these bytes.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn expect_binary(&mut self, data: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        self.expect_exactly(Traffic::Binary(data.as_ref().into()), false)
    }

    /// The next thing must be a ping, answered or not; returns its payload.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn expect_ping(&mut self) -> impl Future<Output = Binary> {
        self.expect("a ping".into(), true, |what| match what {
            Traffic::Ping(data) => Ok(data),
            other => Err(other),
        })
    }

    /// The next thing must be a pong with these bytes.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn expect_pong(&mut self, data: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        self.expect_exactly(Traffic::Pong(data.as_ref().into()), false)
    }

    /// The next thing must be a close frame with this code; returns its reason.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn expect_close(&mut self, code: impl Into<CloseCode>) -> impl Future<Output = String> {
        let expected = code.into();
        self.expect(format!("a close frame with {expected}"), false, move |what| match what {
            Traffic::Close { code, reason } if code == expected => Ok(reason.into()),
            other => Err(other),
        })
    }

    /// The next thing must be the end of the connection.
    ///
    /// # Panics
    /// As [`next_text`](Self::next_text).
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> {
        self.expect_exactly(Traffic::End, false)
    }

    /// Nothing must have arrived when everything that can run has run. See
    /// [`TestServer::settled`](super::TestServer::settled), also for the time it takes on the clock.
    ///
    /// # Panics
    /// Something has arrived.
    #[track_caller]
    pub fn expect_nothing(&mut self) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            settled().await;
            while let Some(what) = self.arrived(place) {
                if !what.is_answered {
                    self.fail(place, "nothing", &what.what);
                }
            }
        }
    }

    /// The next message that has already arrived.
    fn arrived(&mut self, place: &Location<'_>) -> Option<Arrived> {
        self.check(place);
        match self.arriving.try_recv() {
            Ok(arrived) => Some(self.read(arrived)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Arrived { what: Traffic::End, is_answered: false }),
        }
    }

    pub(super) async fn receive(&mut self, wanted: &str, pings: bool, place: &Location<'_>) -> Traffic {
        let limit = limit_of(self.limit);
        self.check(place);
        let receiving = async {
            while let Some(arrived) = self.arriving.recv().await {
                let Arrived { what, is_answered } = self.read(arrived);
                if pings || !is_answered {
                    return what;
                }
            }
            Traffic::End
        };
        match timeout(limit, receiving).await {
            Ok(what) => what,
            Err(_) => panic!("{place}: expected {wanted}, but nothing arrived within {limit:?}{}", self.shared.end()),
        }
    }

    fn read(&self, arrived: Arrived) -> Arrived {
        self.shared.read(&arrived.what);
        arrived
    }

    /// Fails the test if too many messages are unread: the client stopped reading, so later results would be
    /// meaningless.
    fn check(&self, place: &Location<'_>) {
        if let Some(overrun) = self.shared.overrun() {
            panic!("{place}: {overrun}{}", self.shared.end());
        }
    }

    #[track_caller]
    fn expect<T>(
        &mut self,
        wanted: String,
        pings: bool,
        judge: impl FnOnce(Traffic) -> Result<T, Traffic>,
    ) -> impl Future<Output = T> {
        let place = Location::caller();
        async move {
            match judge(self.receive(&wanted, pings, place).await) {
                Ok(received) => received,
                Err(other) => self.fail(place, &wanted, &other),
            }
        }
    }

    #[track_caller]
    fn expect_exactly(&mut self, expected: Traffic, pings: bool) -> impl Future<Output = ()> + use<'_> {
        let wanted = expected.to_string();
        self.expect(wanted, pings, move |what| if what == expected { Ok(()) } else { Err(what) })
    }

    pub(super) fn fail(&self, place: &Location<'_>, wanted: &str, came: &dyn fmt::Display) -> ! {
        panic!("{place}: expected {wanted}, got {came}{}", self.shared.end())
    }
}

/// Fails a test that never reads its messages.
impl Drop for TestClient {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            if let Some(overrun) = self.shared.overrun() {
                panic!("{overrun}");
            }
        }
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient").field("transcript", &self.transcript()).finish_non_exhaustive()
    }
}

/// The limit of a wait; the default if `limit` is `None`.
pub(super) fn limit_of(limit: Option<Duration>) -> Duration {
    limit.unwrap_or_else(|| if is_paused() { PAUSED } else { WAIT_LIMIT })
}

/// Waits until everything that can run has run.
pub(super) async fn settled() {
    // a paused clock does not advance while anything can run; a millisecond is its resolution
    sleep(if is_paused() { Duration::from_millis(1) } else { QUIET }).await;
}

/// Whether tokio's clock is paused: compares it with real time, because tokio does not report it.
fn is_paused() -> bool {
    let (clock, real) = (Instant::now(), std::time::Instant::now());
    while real.elapsed() < Duration::from_micros(1) {
        std::hint::spin_loop();
    }
    Instant::now() == clock
}
