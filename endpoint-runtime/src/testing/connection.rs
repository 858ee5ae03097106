//! The connection of a test's client: one task reads, and answers what a client answers by itself; one writes.

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

/// The most frames that wait to be written.
const WAITING: usize = 1 << 10;

/// The most bytes that wait to be asked for, if the test says nothing else: more than a test looks at, and less than fills
/// the memory of a machine that runs many. Beyond it the client stops reading, and the test fails.
pub(super) const UNREAD: usize = 256 << 20;

/// So much is counted for a message beside its payload.
const EACH: usize = size_of::<Arrived>() + size_of::<Entry>();

/// The largest message that is taken.
const LARGEST: Delivery = Delivery::Whole { limit: 1 << 30 };

const RULES: DecodeOptions = DecodeOptions { text: LARGEST, binary: LARGEST };

/// What the tasks know.
pub(super) struct Shared {
    begun: Instant,
    entries: Mutex<Vec<Entry>>,
    pub(super) is_silent: AtomicBool,
    /// A close frame was sent.
    pub(super) is_closing: AtomicBool,
    pub(super) is_reading: watch::Sender<bool>,
    /// Bytes that came and were not asked for, and how many there may be.
    unread: AtomicUsize,
    pub(super) max_unread: AtomicUsize,
    /// There were more.
    is_overrun: AtomicBool,
}

pub(super) struct Arrived {
    pub(super) what: Traffic,
    /// It is a ping, and has its pong.
    pub(super) is_answered: bool,
}

pub(super) enum Leaving {
    /// With their place in the transcript, and who waits.
    Bytes(Bytes, usize, Option<oneshot::Sender<()>>),
    End,
}

impl Shared {
    pub(super) fn new(is_silent: bool) -> Self {
        Self {
            begun: Instant::now(),
            entries: Mutex::default(),
            is_silent: is_silent.into(),
            is_closing: false.into(),
            is_reading: watch::Sender::new(true),
            unread: 0.into(),
            max_unread: UNREAD.into(),
            is_overrun: false.into(),
        }
    }

    /// Counts what came; false if it was too much.
    fn has_room(&self, what: &Traffic) -> bool {
        let unread = self.unread.fetch_add(EACH + what.payload_len(), Ordering::Relaxed) + EACH + what.payload_len();
        let has_room = unread <= self.max_unread.load(Ordering::Relaxed);
        self.is_overrun.fetch_or(!has_room, Ordering::Relaxed);
        has_room
    }

    /// Counts what was asked for.
    pub(super) fn read(&self, what: &Traffic) {
        self.unread.fetch_sub(EACH + what.payload_len(), Ordering::Relaxed);
    }

    /// The sentence for a test that let more wait than may.
    pub(super) fn overrun(&self) -> Option<String> {
        self.is_overrun.load(Ordering::Relaxed).then(|| {
            let most = self.max_unread.load(Ordering::Relaxed);
            format!(
                "more than {most} bytes came and were not asked for, so the client no longer reads: ask with next(), allow \
                 more with set_max_unread(bytes), or be a slow peer with set_reading(false)"
            )
        })
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the transcript; its place.
    pub(super) fn note(&self, direction: Direction, what: Traffic) -> usize {
        let mut entries = self.entries();
        entries.push(Entry { at: self.begun.elapsed(), direction, what, is_lost: false });
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

    /// The last lines of it.
    pub(super) fn end(&self) -> String {
        self.transcript().end()
    }
}

/// Starts the tasks of a connection; what comes from it, and what goes to it.
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

/// Writes what is to leave, until the end.
async fn write<T: AsyncWrite>(mut io: WriteHalf<T>, mut leaves: mpsc::Receiver<Leaving>, shared: Arc<Shared>) {
    while let Some(Leaving::Bytes(bytes, entry, told)) = leaves.recv().await {
        if io.write_all(&bytes).await.is_err() || io.flush().await.is_err() {
            return shared.lose(entry);
        }
        if let Some(told) = told {
            // the call may have been dropped
            let _ = told.send(());
        }
    }
    // it may be gone
    let _ = io.shutdown().await;
}

/// What reads, and does what a client does by itself.
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
                // a reset is an end as well
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

    /// Takes what was read; none if that was the last.
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

    /// Hands on what came; none if too much waits.
    fn arrived(&self, what: Traffic) -> Option<()> {
        if !self.shared.has_room(&what) {
            return None;
        }
        self.shared.note(Direction::Received, what.clone());
        let is_answered = self.answer(&what);
        // nobody may be there any more to ask for it
        let _ = self.arrives.send(Arrived { what, is_answered });
        Some(())
    }

    fn is_silent(&self) -> bool {
        self.shared.is_silent.load(Ordering::Relaxed)
    }

    /// Answers what a client answers by itself; whether it was a ping, and is answered.
    fn answer(&self, what: &Traffic) -> bool {
        let (answer, frame) = match what {
            _ if self.is_silent() => return false,
            Traffic::Ping(data) => (Traffic::Pong(data.clone()), TestFrame::new(true, 10, data)),
            Traffic::Close { code, .. } if !self.shared.is_closing.swap(true, Ordering::Relaxed) => {
                (Traffic::Close { code: *code, reason: Text::default() }, close_frame(*code, ""))
            }
            _ => return false,
        };
        // full, or gone: then the server waits in vain, as for any slow client
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
