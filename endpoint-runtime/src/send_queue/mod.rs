//! The send queue of a session: bounded, filled by any task, emptied by the connection.
//!
//! Frames keep the order in which they were accepted; control frames have their own lane and overtake. A lock guards
//! the queue and is never held across an await. One wake of the connection covers everything queued since.

mod backlog;
mod batch;
mod burst;
mod counted;
mod current_handler;
mod direct_write;
mod drain;
mod fragments;
mod item;
mod masking;
mod overflow;
mod refused;
pub(crate) mod sync;
mod waiters;
pub(crate) mod write_buffer;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;

use self::backlog::Line;
use self::direct_write::Broadcasts;
pub(crate) use self::direct_write::Millisecond;
pub(crate) use self::drain::Collected;
pub(crate) use self::fragments::FragmentTicket;
use self::item::deflate;
pub(crate) use self::item::{QueueItem, SHARE_FROM};
pub(crate) use self::refused::Refused;
use self::waiters::Waiters;
pub(crate) use self::waiters::{FAR, Waiting};
use crate::config::Overflow;
use crate::observe::log_rate::QueueLog;
use crate::send_queue::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::budget::Budget;
use endpoint_wire::close::CloseReason;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use endpoint_wire::role::Role;

/// Bytes that a handler may send on its own session before it must wait for the socket: one efficient write.
const WRITE_BATCH_BYTES: usize = 64 << 10;

/// Limits of a send queue: size and waiting time.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) send_timeout: Duration,
    pub(crate) overflow: Option<Overflow>,
    /// Rate limits of the endpoint's log lines about queues.
    pub(crate) log: QueueLog,
    /// Byte budget that all queues of the container share.
    pub(crate) budget: Arc<Budget>,
}

/// Position in the order of accepted messages.
pub(crate) type Ticket = u64;

/// The send queue of one session.
pub(crate) struct SendQueue {
    bounds: Arc<Bounds>,
    /// Our side of the connection.
    pub(crate) role: Role,
    /// Whether the connection should check the queue.
    pending: AtomicBool,
    /// Whether the session is on a flusher's list.
    listed: AtomicBool,
    open: AtomicBool,
    /// Whether the connection holds bytes that are not with the socket: later frames must queue behind them.
    has_unflushed: AtomicBool,
    /// Whether the transport takes only whole messages.
    #[cfg(feature = "adopted")]
    whole: AtomicBool,
    state: Mutex<State>,
    /// Set if compression was negotiated.
    deflation: Option<Box<Deflation>>,
}

#[derive(Default)]
struct State {
    /// The writing half of a plain socket. A writer holds the lock, so that frames never mix.
    socket: Option<OwnedWriteHalf>,
    frames: Frames,
    /// Bytes of messages that are accepted and not written.
    bytes: usize,
    /// Number of these bytes that are counted in the container's budget.
    counted: usize,
    /// The last accepted message that is not in the backlog, and the last one written.
    accepted: Ticket,
    written: Ticket,
    /// Number of tickets between the two that belong to no message that will be written.
    skipped: u64,
    connection: Option<Waker>,
    broadcasts: Broadcasts,
    /// Whether a broadcast was written without the connection's knowledge.
    app_activity: bool,
    /// Whether the peer currently accepts no bytes.
    blocked: bool,
    /// Whether a full queue has been reported.
    warned: bool,
    /// Nothing more will be written; `timed_out` if a limit ran out.
    ended: bool,
    timed_out: bool,
    /// Whether the connection must be aborted at once.
    cut: bool,
    /// Whether a limit was changed.
    look: bool,
    /// Whether there is a backlog: accepted messages go to its end.
    lined: bool,
    /// Whether parts were queued that no ticket covers.
    parts: bool,
    /// Batching is on; `batched` if the connection was not woken for the last messages.
    batching: bool,
    batched: bool,
    /// Number of dropped messages.
    dropped: u32,
    rare: Option<Box<Rare>>,
}

/// State that most sessions do not need most of the time.
#[derive(Default)]
struct Rare {
    /// The rest of a frame that a broadcast has partly written; goes before everything else.
    partial_frame: Vec<u8>,
    control: Vec<u8>,
    close: Option<CloseReason>,
    /// Wakes a task that continues after the session's end, until it is aborted.
    closing: Option<Waker>,
    waiters: Waiters,
    line: Option<Box<Line>>,
    /// The session's own send timeout.
    send_timeout: Option<Option<Duration>>,
    /// The frames of a burst of broadcasts to this session first, and to others.
    burst: Option<Bytes>,
}

impl State {
    /// Whether everything accepted is written.
    fn is_empty(&self) -> bool {
        let nothing = |rare: &Rare| rare.partial_frame.is_empty() && rare.control.is_empty() && rare.close.is_none();
        self.outstanding() == 0 && self.frames.is_empty() && self.rare.as_deref().is_none_or(nothing)
    }

    /// Number of outstanding messages: accepted, and neither reported as written nor dropped. A message in parts counts
    /// from the request of its fragment ticket. After the end nothing is outstanding.
    fn outstanding(&self) -> u64 {
        if self.ended {
            return 0;
        }
        let passed = self.accepted - self.written - self.skipped;
        if self.lined { passed + self.line_len() } else { passed }
    }

    /// Bytes that are encoded and not with the connection.
    fn own_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.partial_frame.len()) + self.frames.len()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Puts the rest of a partly written broadcast before everything else.
    #[inline]
    fn prepend_partial(&mut self, out: &mut Frames) {
        if let Some(rare) = self.rare.as_mut().filter(|rare| !rare.partial_frame.is_empty()) {
            out.prepend(std::mem::take(&mut rare.partial_frame));
        }
    }

    fn end(&mut self, waiting: &mut Waiting) {
        if waiting.has_begun() {
            self.rare().waiters.end(waiting);
        }
    }
}

/// Wakes all waiters to check again. Unlocks first, because a waker may do anything.
fn wake_waiters(state: MutexGuard<'_, State>) {
    let wakers = state.rare.as_ref().map(|rare| rare.waiters.wakers());
    drop(state);
    wakers.into_iter().flatten().for_each(Waker::wake);
}

impl SendQueue {
    /// `socket` is the writing half of a plain socket; without it only the connection writes.
    pub(crate) fn new(
        bounds: Arc<Bounds>,
        role: Role,
        deflation: Option<Box<Deflation>>,
        socket: Option<OwnedWriteHalf>,
    ) -> Self {
        Self {
            bounds,
            role,
            pending: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            open: AtomicBool::new(true),
            has_unflushed: AtomicBool::new(false),
            #[cfg(feature = "adopted")]
            whole: AtomicBool::new(false),
            state: Mutex::new(State { socket, ..State::default() }),
            deflation,
        }
    }

    /// The session's compression, if it was negotiated.
    #[inline]
    pub(crate) fn deflation(&self) -> Option<&Deflation> {
        self.deflation.as_deref()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Like [`is_open`](Self::is_open), but under the lock that closing takes: either this sees the end, or the end
    /// sees what was done before.
    pub(crate) fn is_still_open(&self) -> bool {
        let _state = self.lock();
        self.is_open()
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Number of messages that wait to be written.
    pub(crate) fn queued_messages(&self) -> usize {
        usize::try_from(self.lock().outstanding()).unwrap_or(usize::MAX)
    }

    /// The longest time a message may wait.
    pub(crate) fn send_timeout(&self) -> Option<Duration> {
        let own = self.lock().rare.as_ref().and_then(|rare| rare.send_timeout);
        own.unwrap_or(Some(self.bounds.send_timeout))
    }

    pub(crate) fn set_send_timeout(&self, timeout: Option<Duration>) {
        let mut state = self.lock();
        state.rare().send_timeout = Some(timeout);
        state.look = true;
        self.notify(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic while the lock is held can only come from a failed allocation; the state is consistent
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the queue as pending; wakes the connection unless its own handler runs on this thread.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        // a pending queue may already be in collection, but the collector waits for the lock, and then sees this change
        let pending = self.pending.load(Ordering::Acquire) || self.pending.swap(true, Ordering::AcqRel);
        let told = pending && !std::mem::take(&mut state.batched);
        if told || self.is_running() {
            return;
        }
        let waker = state.connection.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes the connection check its limits again.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        state.look = true;
        self.notify(state);
    }

    /// Compresses a message before it is queued, if compression is negotiated, the message is large enough and the
    /// messages are independent. Returns true if it must be compressed in order instead, by
    /// [`offer_in_order`](Self::offer_in_order).
    #[inline]
    pub(crate) fn deflate<'a>(&self, message: QueueItem<'a>) -> (QueueItem<'a>, bool) {
        match &self.deflation {
            Some(deflation) if deflation.is_for(message.len()) && self.is_open() => deflate(deflation, message),
            _ => (message, false),
        }
    }

    /// Like [`deflate`](Self::deflate), but skips a message for which there is no space: compressing it would be wasted
    /// work.
    #[inline]
    pub(crate) fn deflate_if_room<'a>(&self, message: QueueItem<'a>) -> (QueueItem<'a>, bool) {
        match &self.deflation {
            Some(deflation) if deflation.no_context_takeover() && !self.has_room(message.len()) => (message, false),
            _ => self.deflate(message),
        }
    }

    fn has_room(&self, size: usize) -> bool {
        !self.is_full(&self.lock(), size)
    }

    /// Accepts a message, or refuses it because the queue is closed or full.
    #[inline]
    pub(crate) fn offer(&self, message: QueueItem<'_>) -> Result<Ticket, Refused> {
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        let size = message.len();
        if self.is_full(&state, size) {
            return Err(Refused::Full);
        }
        if state.lined {
            return Ok(self.line_up(state, message, false, false));
        }
        message.push_to(&mut state.frames);
        Ok(self.accepted(state, size))
    }

    /// Accepts a message into the backlog.
    #[cold]
    fn line_up(
        &self,
        mut state: MutexGuard<'_, State>,
        message: QueueItem<'_>,
        in_order: bool,
        droppable: bool,
    ) -> Ticket {
        let ticket = state.line_up(message, in_order, droppable);
        self.grew(&mut state);
        self.notify(state);
        ticket
    }

    /// Accepts a handler's reply even if the queue is full: the connection then stops reading.
    pub(crate) fn offer_reply(&self, message: QueueItem<'_>) -> Result<Ticket, Refused> {
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        if state.lined {
            return Ok(self.line_up(state, message, false, false));
        }
        let size = message.len();
        message.push_to(&mut state.frames);
        Ok(self.accepted(state, size))
    }

    /// Whether the queue exceeds its limit in bytes.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().bytes > self.bounds.bytes
    }

    /// Like [`offer`](Self::offer), for a message that refers to those before it. It is compressed under the lock and
    /// only once it is certain to be sent, so that both orders are the same. A handler's reply is not bounded.
    pub(crate) fn offer_in_order(&self, message: QueueItem<'_>, bounded: bool) -> Result<Ticket, Refused> {
        let (Some(deflation), Some((opcode, payload))) = (&self.deflation, message.payload()) else {
            return self.offer(message);
        };
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        // its size on the wire is not known yet, but is hardly larger
        if bounded && self.is_full(&state, payload.len()) {
            return Err(Refused::Full);
        }
        if state.lined {
            return Ok(self.line_up(state, message, true, false));
        }
        let before = state.frames.len();
        deflation.frame_in_order(opcode, payload, state.frames.small());
        let size = state.frames.len() - before;
        Ok(self.accepted(state, size))
    }

    #[inline]
    fn accepted(&self, mut state: MutexGuard<'_, State>, size: usize) -> Ticket {
        state.bytes += size;
        self.grew(&mut state);
        state.accepted += 1;
        let ticket = state.accepted;
        if state.batching {
            self.gather(state);
        } else {
            self.notify(state);
        }
        ticket
    }

    /// Whether a message must be refused. A message that is alone may exceed the bound, so that it can be sent at all.
    #[inline]
    fn is_full(&self, state: &State, size: usize) -> bool {
        self.exceeds_bounds(state, size) || state.outstanding() > 0 && self.exceeds_budget(state, size)
    }

    /// Whether a message exceeds the bounds of this queue alone.
    #[inline]
    fn exceeds_bounds(&self, state: &State, size: usize) -> bool {
        let outstanding = state.outstanding();
        outstanding > 0
            && (outstanding >= self.bounds.messages as u64 || state.bytes.saturating_add(size) > self.bounds.bytes)
    }

    /// Whether this is the first message refused for lack of space since the queue was empty.
    pub(crate) fn first_overflow(&self) -> bool {
        !std::mem::replace(&mut self.lock().warned, true)
    }

    /// Queues a ping or pong in the control lane.
    pub(crate) fn control(&self, opcode: OpCode, payload: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        let control = &mut state.rare().control;
        if control.len() > WRITE_BATCH_BYTES {
            return Err(Refused::Full);
        }
        encode::frame(control, true, opcode, payload);
        self.notify(state);
        Ok(())
    }

    /// Requests the closing handshake after the queued messages; the first reason wins. Nothing more is accepted.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut state = self.lock();
        if self.open.swap(false, Ordering::AcqRel) {
            state.rare().close = Some(reason);
            self.notify(state);
        }
    }

    /// Aborts the connection: no close frame, and running handlers stop.
    pub(crate) fn abort(&self) {
        let mut state = self.lock();
        state.cut = true;
        let closing = state.rare().closing.take();
        self.notify(state);
        if let Some(waker) = closing {
            waker.wake();
        }
    }

    /// Waits until the message of `ticket` is written, at most for the send timeout.
    pub(crate) fn poll_written(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        // a message copied into the batch counts as sent
        let batched = |state: &State| state.batching && state.bytes < WRITE_BATCH_BYTES && !state.ended;
        self.poll_passed(cx, ticket, waiting, batched)
    }

    /// Like [`poll_written`](Self::poll_written), but also waits while batching.
    pub(crate) fn poll_flushed(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.poll_passed(cx, ticket, waiting, |_| false)
    }

    #[inline]
    fn poll_passed(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        waiting: &mut Waiting,
        will_do: impl FnOnce(&State) -> bool,
    ) -> Poll<Result<(), Refused>> {
        let mut state = self.lock();
        if state.written >= ticket || will_do(&state) {
            state.end(waiting);
            return Poll::Ready(Ok(()));
        }
        if state.ended {
            let timed_out = state.timed_out;
            state.end(waiting);
            return Poll::Ready(Err(if timed_out { Refused::TimedOut } else { Refused::Closed }));
        }
        // a handler's own message leaves with its batch, at the latest when the handler waits for something else;
        // one that waits behind a message in parts might wait for the handler itself
        let behind = || ticket > state.accepted && state.is_open_in_parts();
        if self.is_running() && (!state.blocked && state.bytes < WRITE_BATCH_BYTES || behind()) {
            state.end(waiting);
            return Poll::Ready(Ok(()));
        }
        self.poll_waiting(state, cx, waiting)
    }

    /// Waits until a message of `size` bytes may be offered again. A sender that waits when the send timeout ends the
    /// session gets `TimedOut`.
    pub(crate) fn poll_room(
        &self,
        cx: &mut Context<'_>,
        size: usize,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.poll_until(cx, waiting, |send_queue, state| !send_queue.is_full(state, size))
    }

    /// Waits until `is_so` returns true, or the session ends.
    fn poll_until(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
        mut is_so: impl FnMut(&Self, &mut State) -> bool,
    ) -> Poll<Result<(), Refused>> {
        let mut state = self.lock();
        if !self.is_open() {
            let timed_out = waiting.has_begun() && state.timed_out;
            state.end(waiting);
            return Poll::Ready(Err(if timed_out { Refused::TimedOut } else { Refused::Closed }));
        }
        if is_so(self, &mut state) {
            return Poll::Ready(Ok(()));
        }
        self.poll_waiting(state, cx, waiting)
    }

    fn poll_waiting(
        &self,
        mut state: MutexGuard<'_, State>,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        if waiting.has_begun() {
            if state.rare().waiters.goes_on(waiting, cx) {
                return Poll::Pending;
            }
            state.end(waiting);
            return Poll::Ready(Err(Refused::TimedOut));
        }
        let limit = match state.rare().send_timeout {
            Some(own) => own.unwrap_or(FAR),
            None => self.bounds.send_timeout,
        };
        state.rare().waiters.begin(waiting, limit, cx);
        // the connection owns the clock
        self.notify(state);
        Poll::Pending
    }

    /// Removes a waiter whose future was dropped.
    pub(crate) fn abandon(&self, waiting: &mut Waiting) {
        if waiting.has_begun() {
            self.lock().end(waiting);
        }
    }
}

/// A registered waiter, removed when it is dropped.
pub(crate) struct Wait<'a> {
    pub(crate) send_queue: &'a SendQueue,
    pub(crate) waiting: Waiting,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.send_queue.abandon(&mut self.waiting);
    }
}

impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue").field("open", &self.is_open()).finish_non_exhaustive()
    }
}
