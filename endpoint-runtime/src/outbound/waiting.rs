//! Those who wait for room in a queue, or until their message is written.

use std::collections::BTreeMap;
use std::task::{Context, Waker};

use tokio::time::Instant;

/// A sender's place among those who wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<u64>);

impl Waiting {
    pub(crate) fn has_begun(&self) -> bool {
        self.0.is_some()
    }
}

/// Everybody who waits, in the order in which they began.
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

    /// Begins to wait.
    pub(super) fn begin(&mut self, waiting: &mut Waiting, deadline: Instant, cx: &Context<'_>) {
        let waiter = Waiter { deadline, expired: false, waker: cx.waker().clone() };
        self.waiters.insert(self.next, waiter);
        waiting.0 = Some(self.next);
        self.next += 1;
    }

    /// Waits on, in this task. False if the time is up.
    pub(super) fn goes_on(&mut self, waiting: &Waiting, cx: &Context<'_>) -> bool {
        match waiting.0.and_then(|id| self.waiters.get_mut(&id)) {
            Some(waiter) if !waiter.expired => {
                waiter.waker.clone_from(cx.waker());
                true
            }
            _ => false,
        }
    }

    /// Waits no more.
    pub(super) fn end(&mut self, waiting: &mut Waiting) {
        if let Some(id) = waiting.0.take() {
            self.waiters.remove(&id);
        }
    }

    /// To be woken when it is possible that somebody's wait is over.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        self.waiters.values().map(|waiter| waiter.waker.clone()).collect()
    }

    /// Finds those whose time is up, to be woken; and when the next one's is.
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
