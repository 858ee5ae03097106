//! Byte budgets that all sessions of a container share. A reservation returns its bytes when it is dropped. Memory that
//! a session holds only for a moment is not counted, so that small messages touch no shared memory.
//!
//! No part of the protocol: the module is here because [`deflate`](crate::deflate) reserves its memory from a budget.
//! `endpoint-runtime` bounds received and queued messages with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit in bytes, and how many of them are in use.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// Bytes reserved from a budget until this value is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Budgets for memory that all sessions of a container share. For `endpoint-runtime`; the decoder does not use them.
#[derive(Debug, Default)]
pub struct Budgets {
    /// For messages that are not complete.
    pub receive: Arc<Budget>,
    /// For messages that wait to be written.
    pub send: Arc<Budget>,
}

impl Budgets {
    /// Budgets with these limits, in bytes.
    pub fn new(receive: usize, send: usize) -> Self {
        Self { receive: Arc::new(Budget::new(receive)), send: Arc::new(Budget::new(send)) }
    }
}

impl Budget {
    /// Creates a budget of `limit` bytes, all free.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Reserves `bytes`, if they fit. Reserving 0 bytes succeeds as long as the budget is not used up.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.take(bytes).then(|| Reservation { budget: self.clone(), bytes })
    }

    /// Reserves `bytes` even beyond the limit.
    pub(crate) fn count(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.add(bytes);
        Reservation { budget: self.clone(), bytes }
    }

    /// Takes `bytes` even beyond the limit, for a caller that returns them with [`give_back`](Self::give_back).
    pub fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns bytes that [`add`](Self::add) took.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether no byte is left.
    #[inline]
    pub fn is_used_up(&self) -> bool {
        self.used() >= self.limit
    }

    /// Relaxed suffices: this is only a counter, and no other memory is published through it.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| {
            let sum = used.checked_add(bytes)?;
            (sum <= self.limit && used < self.limit).then_some(sum)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// A budget without a limit.
impl Default for Budget {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Grows the reservation to `bytes`; it never shrinks. Returns false and reserves nothing if they do not fit.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.bytes);
        let grows = missing == 0 || self.budget.take(missing);
        if grows {
            self.bytes += missing;
        }
        grows
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_grows_within_the_limit_and_is_given_back() {
        let budget = Arc::new(Budget::new(10));
        let mut first = budget.reserve(4).unwrap();
        assert!(first.grow_to(6) && first.grow_to(2), "it does not shrink");
        assert_eq!((first.bytes(), budget.used()), (6, 6));
        assert!(budget.reserve(5).is_none());
        let mut second = budget.reserve(4).unwrap();
        assert!(budget.is_used_up() && budget.reserve(0).is_none());
        assert!(!second.grow_to(5));
        assert_eq!(budget.used(), 10);
        drop(first);
        assert!(second.grow_to(5));
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
