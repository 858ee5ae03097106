//! Senders that wait for space in a queue, or until their message is written.

use std::collections::BTreeMap;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// A sender's entry among the waiters.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    id: Option<u64>,
    /// A deadline of its own, instead of the session's limit.
    deadline: Option<Instant>,
}

impl Waiting {
    /// Creates an entry with its own limit, if there is one.
    pub(crate) fn within(limit: Option<Duration>) -> Self {
        Self { id: None, deadline: limit.map(later) }
    }

    /// Creates an entry without a limit: for a wait that the session's end will end.
    pub(crate) fn without_limit() -> Self {
        Self::within(Some(FAR))
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.id.is_some()
    }
}

/// The instant `limit` from now.
fn later(limit: Duration) -> Instant {
    Instant::now() + limit.min(FAR)
}

/// Stands for a wait without an end that fits the clock: thirty years, as in tokio.
pub(crate) const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// All waiters, in the order in which they were added.
#[derive(Default)]
pub(super) struct Waiters {
    waiters: BTreeMap<u64, Waiter>,
    next: u64,
}

struct Waiter {
    deadline: Instant,
    expired: bool,
    waker: Waker,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Adds a waiter.
    pub(super) fn register(&mut self, waiting: &mut Waiting, limit: Duration, cx: &Context<'_>) {
        let deadline = waiting.deadline.unwrap_or_else(|| later(limit));
        let waiter = Waiter { deadline, expired: false, waker: cx.waker().clone() };
        self.waiters.insert(self.next, waiter);
        waiting.id = Some(self.next);
        self.next += 1;
    }

    /// Keeps a waiter, which now waits in this task. False if the deadline has passed.
    pub(super) fn keep(&mut self, waiting: &Waiting, cx: &Context<'_>) -> bool {
        match waiting.id.and_then(|id| self.waiters.get_mut(&id)) {
            Some(waiter) if !waiter.expired => {
                waiter.waker.clone_from(cx.waker());
                true
            }
            _ => false,
        }
    }

    /// Removes a waiter.
    pub(super) fn unregister(&mut self, waiting: &mut Waiting) {
        if let Some(id) = waiting.id.take() {
            self.waiters.remove(&id);
        }
    }

    /// The wakers of all waiters, to be woken when a wait may be over.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        self.waiters.values().map(|waiter| waiter.waker.clone()).collect()
    }

    /// Marks the waiters whose deadline has passed. Returns their wakers, and the next deadline.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<Waker>, Option<Instant>) {
        let (mut missed, mut next) = (Vec::new(), None);
        for waiter in self.waiters.values_mut().filter(|waiter| !waiter.expired) {
            if waiter.deadline <= now {
                waiter.expired = true;
                missed.push(waiter.waker.clone());
            } else {
                next = Some(next.map_or(waiter.deadline, |next: Instant| next.min(waiter.deadline)));
            }
        }
        (missed, next)
    }
}
