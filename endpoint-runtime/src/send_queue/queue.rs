//! The send queue itself: its lock, its flags and the wake of the connection.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;

use super::conversion::Conversion;
use super::current_handler;
use super::item::Ticket;
use super::pending::Pending;
use super::state::{Phase, QueueState};
use crate::config::Overflow;
use crate::observe::log_rate::QueueLog;
use crate::observe::traffic::{EndpointTraffic, Shown};
use crate::send_queue::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use endpoint_wire::budget::Budget;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::role::Role;

/// Bytes that a handler may send on its own session before it must wait for the socket: one efficient write.
pub(super) const WRITE_BATCH_BYTES: usize = 64 << 10;

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
    /// Logs each message, if the container does.
    pub(crate) traffic: Option<Arc<EndpointTraffic>>,
}

/// The send queue of one session.
pub(crate) struct SendQueue {
    pub(super) bounds: Arc<Bounds>,
    /// Our side of the connection.
    pub(crate) role: Role,
    /// Whether the connection should check the queue.
    pub(super) pending: Pending,
    /// Whether the session is on a flusher's list.
    pub(super) listed: AtomicBool,
    /// Mirrors `Phase::Open` of the state.
    open: AtomicBool,
    /// Mirrors the connection: whether it holds bytes that are not with the socket. Later frames must queue behind them.
    pub(super) has_unflushed: AtomicBool,
    /// Whether the transport takes only whole messages; set once.
    #[cfg(feature = "adopted")]
    pub(super) whole: AtomicBool,
    state: Mutex<QueueState>,
    /// Set if compression was negotiated, interceptors see what is sent, or it is logged.
    pub(super) conversion: Option<Box<Conversion>>,
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
            pending: Pending::new(),
            listed: AtomicBool::new(false),
            open: AtomicBool::new(true),
            has_unflushed: AtomicBool::new(false),
            #[cfg(feature = "adopted")]
            whole: AtomicBool::new(false),
            state: Mutex::new(QueueState::new(socket)),
            conversion: deflation
                .map(|deflation| Box::new(Conversion { deflation: Some(*deflation), ..Conversion::default() })),
        }
    }

    /// The session's compression, if it was negotiated.
    #[inline]
    pub(crate) fn deflation(&self) -> Option<&Deflation> {
        self.conversion.as_ref()?.deflation.as_ref()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Like [`is_open`](Self::is_open), but under the lock that closing takes: either this sees the end, or the end
    /// sees what was done before.
    pub(crate) fn is_still_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    /// Number of messages that were accepted since the session opened, without those that may still be dropped.
    pub(crate) fn messages_accepted(&self) -> Ticket {
        self.lock().accepted()
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.lock().bytes.get()
    }

    /// Number of messages that wait to be written.
    pub(crate) fn queued_messages(&self) -> usize {
        usize::try_from(self.lock().outstanding()).unwrap_or(usize::MAX)
    }

    /// The longest time a message may wait.
    pub(crate) fn send_timeout(&self) -> Option<Duration> {
        self.lock().send_timeout().unwrap_or(Some(self.bounds.send_timeout))
    }

    pub(crate) fn set_send_timeout(&self, timeout: Option<Duration>) {
        let mut state = self.lock();
        state.cold().send_timeout = Some(timeout);
        state.news.recheck = true;
        self.notify(state);
    }

    /// Has each message logged under the session's name. Call it before the queue is shared.
    pub(crate) fn set_label(&mut self, session: String) {
        self.conversion.get_or_insert_default().label = Some(session.into());
    }

    /// Whether messages are logged.
    #[inline]
    pub(crate) fn is_logged(&self) -> bool {
        self.conversion.as_ref().is_some_and(|conversion| conversion.label.is_some())
    }

    /// Logs a message that was accepted for sending, if messages are logged.
    #[inline]
    pub(crate) fn log_sent<'m>(&self, message: impl FnOnce() -> Shown<'m>) {
        let Some(conversion) = &self.conversion else { return };
        if let (Some(label), Some(traffic)) = (&conversion.label, &self.bounds.traffic) {
            traffic.note(label, "out", message());
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        // a panic while the lock is held can only come from a failed allocation; the state is consistent
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Advances the phase; nothing more is accepted.
    pub(super) fn advance_phase(&self, state: &mut QueueState, phase: Phase) {
        state.phase = state.phase.max(phase);
        self.open.store(false, Ordering::Release);
    }

    /// Makes the connection check the queue; wakes it unless its own handler runs on this thread.
    pub(super) fn notify(&self, mut state: MutexGuard<'_, QueueState>) {
        if self.pending.raise() || state.mode.take_unwoken() {
            self.wake_outside_handler(state);
        }
    }

    /// Wakes the connection, unless its own handler runs on this thread: then it checks the queue anyway.
    pub(super) fn wake_outside_handler(&self, state: MutexGuard<'_, QueueState>) {
        if !self.is_in_own_handler() {
            self.wake_connection(state);
        }
    }

    /// Wakes the connection even if the queue is already pending.
    pub(super) fn wake_connection(&self, state: MutexGuard<'_, QueueState>) {
        let waker = state.connection.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes all waiters to check again.
    pub(super) fn wake_waiters(&self, state: MutexGuard<'_, QueueState>) {
        let wakers = state.waiter_wakers();
        // unlocked, because a waker may do anything
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Polls a handler of this session: messages it sends meanwhile on this session join the batch without a wake.
    #[inline]
    pub(crate) fn enter_handler<T>(&self, poll: impl FnOnce() -> T) -> T {
        current_handler::enter(std::ptr::from_ref(self).cast(), poll)
    }

    /// Runs `poll` as if no handler ran on this thread.
    pub(crate) fn outside_handler<T>(&self, poll: impl FnOnce() -> T) -> T {
        current_handler::enter(std::ptr::null(), poll)
    }

    /// Whether a handler of any session is being polled on this thread.
    pub(crate) fn is_in_handler() -> bool {
        !current_handler::current().is_null()
    }

    /// Whether a handler of this session is being polled on this thread.
    pub(crate) fn is_in_own_handler(&self) -> bool {
        std::ptr::eq(current_handler::current(), std::ptr::from_ref(self).cast())
    }

    /// Makes the connection check its limits again.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        state.news.recheck = true;
        self.notify(state);
    }
}

/// A queue may be dropped without its end, with a task that is dropped.
impl Drop for SendQueue {
    fn drop(&mut self) {
        self.lock().bytes.set(0, &self.bounds.budget);
    }
}

impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue").field("open", &self.is_open()).finish_non_exhaustive()
    }
}
