//! The connection of a test's client: one task reads and sends the automatic answers; the other writes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::frame::TestFrame;
use super::transcript::{Direction, Entry, Traffic, Transcript};
use endpoint_wire::close::CloseCode;
use endpoint_wire::decode::Decoder;
use endpoint_wire::deflate::Inbound;
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::role::Role;
use endpoint_wire::text::Text;

/// Maximum number of frames that wait to be written.
const WAITING: usize = 1 << 10;

/// Default maximum of unread bytes: more than a test looks at, and too little to fill the memory of a machine that runs
/// many tests. Above it the client stops reading, and the test fails.
pub(super) const UNREAD: usize = 256 << 20;

/// Bytes counted for a message beside its payload.
const EACH: usize = size_of::<Arrived>() + size_of::<Entry>();

/// The largest message that is accepted.
const LARGEST: Delivery = Delivery::Whole { limit: 1 << 30 };

const RULES: DecodeOptions = DecodeOptions { text: LARGEST, binary: LARGEST };

/// State shared by the client and its tasks.
pub(super) struct Shared {
    started: Instant,
    entries: Mutex<Vec<Entry>>,
    pub(super) is_silent: AtomicBool,
    /// A close frame was sent.
    pub(super) is_closing: AtomicBool,
    pub(super) is_reading: watch::Sender<bool>,
    /// Bytes received and not yet read by the test; the next field is their maximum.
    unread: AtomicUsize,
    pub(super) max_unread: AtomicUsize,
    /// The maximum was exceeded.
    is_overrun: AtomicBool,
}

pub(super) struct Arrived {
    pub(super) what: Traffic,
    /// A ping that has been answered.
    pub(super) is_answered: bool,
}

pub(super) enum Leaving {
    /// Bytes with their index in the transcript, and the sender that waits for the write.
    Bytes(Bytes, usize, Option<oneshot::Sender<()>>),
    End,
}

impl Shared {
    pub(super) fn new(is_silent: bool) -> Self {
        Self {
            started: Instant::now(),
            entries: Mutex::default(),
            is_silent: is_silent.into(),
            is_closing: false.into(),
            is_reading: watch::Sender::new(true),
            unread: 0.into(),
            max_unread: UNREAD.into(),
            is_overrun: false.into(),
        }
    }

    /// Counts received bytes; false if they exceed the maximum.
    fn has_room(&self, what: &Traffic) -> bool {
        let unread = self.unread.fetch_add(EACH + what.payload_len(), Ordering::Relaxed) + EACH + what.payload_len();
        let has_room = unread <= self.max_unread.load(Ordering::Relaxed);
        self.is_overrun.fetch_or(!has_room, Ordering::Relaxed);
        has_room
    }

    /// Releases the count of bytes that the test has read.
    pub(super) fn read(&self, what: &Traffic) {
        self.unread.fetch_sub(EACH + what.payload_len(), Ordering::Relaxed);
    }

    /// The failure message for a test with too many unread bytes.
    pub(super) fn overrun(&self) -> Option<String> {
        self.is_overrun.load(Ordering::Relaxed).then(|| {
            let most = self.max_unread.load(Ordering::Relaxed);
            format!(
                "more than {most} bytes are unread, so the client stopped reading: read with next(), allow more with \
                 set_max_unread(bytes), or simulate a slow peer with set_reading(false)"
            )
        })
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the transcript; returns its index.
    pub(super) fn note(&self, direction: Direction, what: Traffic) -> usize {
        let mut entries = self.entries();
        entries.push(Entry { at: self.started.elapsed(), direction, what, is_lost: false });
        entries.len() - 1
    }

    pub(super) fn lose(&self, place: usize) {
        if let Some(entry) = self.entries().get_mut(place) {
            entry.is_lost = true;
        }
    }

    pub(super) fn transcript(&self) -> Transcript {
        Transcript { entries: self.entries().clone(), has_times: true }
    }

    /// The last lines of the transcript.
    pub(super) fn end(&self) -> String {
        self.transcript().end()
    }
}

/// Starts the tasks of a connection; returns the channels from it and to it.
pub(super) fn run<T>(
    tasks: &mut JoinSet<()>,
    io: T,
    early: Bytes,
    inbound: Option<Inbound>,
    shared: &Arc<Shared>,
) -> (mpsc::UnboundedReceiver<Arrived>, mpsc::Sender<Leaving>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (arrives, arriving) = mpsc::unbounded_channel();
    let (leaving, leaves) = mpsc::channel(WAITING);
    let decoder = Decoder::new(Role::Client, inbound);
    let reader = Reader { decoder, shared: shared.clone(), arrives, leaving: leaving.clone() };
    let (reading, writing) = split(io);
    tasks.spawn(write(writing, leaves, shared.clone()));
    tasks.spawn(reader.run(reading, early));
    (arriving, leaving)
}

/// Writes queued frames until the end.
async fn write<T: AsyncWrite>(mut io: WriteHalf<T>, mut leaves: mpsc::Receiver<Leaving>, shared: Arc<Shared>) {
    while let Some(Leaving::Bytes(bytes, entry, done)) = leaves.recv().await {
        if io.write_all(&bytes).await.is_err() || io.flush().await.is_err() {
            return shared.lose(entry);
        }
        if let Some(done) = done {
            // the send may have been dropped
            let _ = done.send(());
        }
    }
    // the connection may be gone
    let _ = io.shutdown().await;
}

/// Reads, and sends a client's automatic answers.
struct Reader {
    decoder: Decoder,
    shared: Arc<Shared>,
    arrives: mpsc::UnboundedSender<Arrived>,
    leaving: mpsc::Sender<Leaving>,
}

impl Reader {
    async fn run<T: AsyncRead>(mut self, mut io: ReadHalf<T>, early: Bytes) {
        let mut buffer = early.to_vec();
        let mut is_reading = self.shared.is_reading.subscribe();
        loop {
            if self.take(&mut buffer).is_none() {
                return;
            }
            buffer.clear();
            // the sender is in `shared`
            let _ = is_reading.wait_for(|is_reading| *is_reading).await;
            let count = tokio::select! {
                biased;
                _ = is_reading.changed() => continue,
                // a reset counts as an end
                count = io.read_buf(&mut buffer) => count.unwrap_or(0),
            };
            if count == 0 {
                break;
            }
        }
        self.arrived(Traffic::End);
        if !self.is_silent() {
            let _ = self.leaving.send(Leaving::End).await;
        }
    }

    /// Decodes the bytes that were read; `None` ends reading.
    fn take(&mut self, buffer: &mut [u8]) -> Option<()> {
        let mut at = 0;
        while at < buffer.len() {
            let (used, event) = match self.decoder.next(&RULES, &mut buffer[at..]) {
                Ok((used, event)) => (used, event.map(Event::into_owned)),
                Err(violation) => {
                    let reason = violation.close_reason();
                    self.arrived(Traffic::Violation(reason.reason().to_owned()));
                    return None;
                }
            };
            at += used;
            if let Some(event) = event {
                self.arrived(event.into())?;
            }
        }
        Some(())
    }

    /// Passes on a received message; `None` if too many are unread.
    fn arrived(&self, what: Traffic) -> Option<()> {
        if !self.shared.has_room(&what) {
            return None;
        }
        self.shared.note(Direction::Received, what.clone());
        let is_answered = self.answer(&what);
        // the client may be gone
        let _ = self.arrives.send(Arrived { what, is_answered });
        Some(())
    }

    fn is_silent(&self) -> bool {
        self.shared.is_silent.load(Ordering::Relaxed)
    }

    /// Sends the automatic answer, if there is one; whether `what` is an answered ping.
    fn answer(&self, what: &Traffic) -> bool {
        let (answer, frame) = match what {
            _ if self.is_silent() => return false,
            Traffic::Ping(data) => (Traffic::Pong(data.clone()), TestFrame::new(true, 10, data)),
            Traffic::Close { code, .. } if !self.shared.is_closing.swap(true, Ordering::Relaxed) => {
                (Traffic::Close { code: *code, reason: Text::default() }, close_frame(*code, ""))
            }
            _ => return false,
        };
        // the queue is full or closed: the server then waits in vain, as for any slow client
        let Ok(permit) = self.leaving.try_reserve() else { return false };
        let is_ping = matches!(what, Traffic::Ping(_));
        let entry = self.shared.note(Direction::Sent, answer);
        permit.send(Leaving::Bytes(frame.bytes(), entry, None));
        is_ping
    }
}

/// A close frame; [`CloseCode::NoStatusCode`] makes it an empty one.
pub(super) fn close_frame(code: CloseCode, reason: &str) -> TestFrame {
    let payload = match code {
        CloseCode::NoStatusCode => Vec::new(),
        code => [&code.as_u16().to_be_bytes()[..], reason.as_bytes()].concat(),
    };
    TestFrame::new(true, 8, payload)
}
