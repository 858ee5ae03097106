//! Far deadlines of all sessions of an endpoint: one timer for all of them, in whole seconds.
//!
//! A separate timer would cost an idle connection more than a hundred bytes and a place in the runtime's wheel. Here a
//! deadline is a number in a row. It specifies when a connection checks its limits, and it is early rather than late:
//! for a near deadline the connection has its own timer.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// Interval between two checks of the row.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// Minimum distance of a deadline: the row is at most a second early.
const FAR: Duration = Duration::from_secs(2);

/// No deadline.
const NEVER: u32 = u32::MAX;

/// One deadline for each member of a list, at the member's index.
#[derive(Debug)]
pub(crate) struct Deadlines {
    base: Instant,
    /// Deadlines in whole seconds since `base`.
    row: Vec<u32>,
    sweep: Sweep,
    /// Wakes the sweeping task when the sweep ends.
    sweeper: Option<Waker>,
}

/// The number of a sweep, and whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sweep {
    count: u32,
    goes_on: bool,
}

/// A member's copy of its deadline in the row. While it is no later than a new deadline, the row need not change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// The count of the sweep for which the deadline was set; zero without a deadline.
    sweep: u32,
    seconds: u32,
}

impl Entry {
    /// Whether the entry wakes its member in time for `deadline`, while this sweep goes on.
    pub(crate) fn is_in_time(self, sweep: u32, base: Instant, now: Instant, deadline: Instant) -> bool {
        // a deadline that has passed was removed, or is about to be
        let is_to_come = self.seconds > seconds(base, now);
        self.sweep == sweep && is_to_come && self.seconds <= seconds(base, deadline)
    }
}

/// Whether a deadline may wait in the row.
pub(crate) fn is_far(now: Instant, deadline: Instant) -> bool {
    deadline >= now + FAR
}

fn seconds(base: Instant, moment: Instant) -> u32 {
    u32::try_from(moment.saturating_duration_since(base).as_secs()).unwrap_or(NEVER)
}

impl Deadlines {
    /// No members yet. `base` must be earlier than all deadlines.
    pub(crate) fn since(base: Instant) -> Self {
        Self { base, row: Vec::new(), sweep: Sweep { count: 0, goes_on: false }, sweeper: None }
    }

    /// Adds a member at the end of the list.
    pub(crate) fn push(&mut self) {
        self.row.push(NEVER);
    }

    /// Removes a member; the last one takes its index. The sweep ends when no member is left.
    pub(crate) fn swap_remove(&mut self, place: usize) {
        self.row.swap_remove(place);
        if self.row.is_empty() {
            self.end();
        }
    }

    /// Swaps two members.
    pub(crate) fn swap(&mut self, one: usize, other: usize) {
        self.row.swap(one, other);
    }

    /// Sets the deadline of a member; `None` if the member needs its own timer.
    pub(crate) fn set(&mut self, place: usize, now: Instant, deadline: Instant) -> Option<Entry> {
        let sweep = self.sweep().filter(|_| is_far(now, deadline))?;
        let entry = self.row.get_mut(place)?;
        *entry = seconds(self.base, deadline);
        Some(Entry { sweep, seconds: *entry })
    }

    /// The count of the current sweep, which is not zero; `None` without one.
    pub(crate) fn sweep(&self) -> Option<u32> {
        self.sweep.goes_on.then_some(self.sweep.count)
    }

    /// Begins a sweep, which the caller must run; `None` if one goes on.
    pub(crate) fn begin(&mut self) -> Option<Sweep> {
        if self.sweep.goes_on {
            return None;
        }
        self.sweep = Sweep { count: self.sweep.count.checked_add(1).unwrap_or(1), goes_on: true };
        Some(self.sweep)
    }

    pub(crate) fn goes_on(&self, sweep: Sweep) -> bool {
        self.sweep == sweep
    }

    /// Waits until a sweep must end.
    pub(crate) fn poll_end(&mut self, sweep: Sweep, cx: &mut Context<'_>) -> Poll<()> {
        if !self.goes_on(sweep) {
            return Poll::Ready(());
        }
        self.sweeper = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the sweep and clears all deadlines.
    pub(crate) fn end(&mut self) {
        self.sweep.goes_on = false;
        self.row.fill(NEVER);
        self.sweeper.take().into_iter().for_each(Waker::wake);
    }

    /// The indexes of members whose deadline has passed. The deadlines are cleared as the iterator reaches them.
    pub(crate) fn due(&mut self, now: Instant) -> impl Iterator<Item = usize> {
        let seconds = seconds(self.base, now);
        let row = self.row.iter_mut().enumerate();
        row.filter_map(move |(place, entry)| {
            let due = *entry != NEVER && *entry <= seconds;
            if due {
                *entry = NEVER;
            }
            due.then_some(place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(deadlines: &mut Deadlines, now: Instant) -> Vec<usize> {
        deadlines.due(now).collect()
    }

    #[test]
    fn a_far_deadline_is_due_once_and_at_most_a_second_early() {
        let start = Instant::now();
        let mut deadlines = Deadlines::since(start);
        (0..3).for_each(|_| deadlines.push());
        assert!(deadlines.set(0, start, start + 10 * SWEEP).is_none(), "no sweep runs yet");
        assert!(deadlines.begin().is_some() && deadlines.begin().is_none());
        assert!(deadlines.set(0, start, start + Duration::from_millis(10_900)).is_some());
        assert!(deadlines.set(1, start, start + 20 * SWEEP).is_some());
        assert!(deadlines.set(2, start, start + FAR - Duration::from_millis(1)).is_none(), "the deadline is too close");
        assert!(deadlines.set(3, start, start + 20 * SWEEP).is_none(), "no such member");
        assert!(due(&mut deadlines, start + Duration::from_millis(9_999)).is_empty());
        assert_eq!(due(&mut deadlines, start + 10 * SWEEP), [0]);
        assert!(due(&mut deadlines, start + 11 * SWEEP).is_empty());
        deadlines.swap_remove(1);
        assert!(due(&mut deadlines, start + 20 * SWEEP).is_empty());
    }

    #[test]
    fn moved_entry_keeps_its_deadline() {
        let start = Instant::now();
        let mut deadlines = Deadlines::since(start);
        (0..2).for_each(|_| deadlines.push());
        deadlines.begin();
        deadlines.set(1, start, start + 5 * SWEEP);
        deadlines.swap_remove(0);
        assert_eq!(due(&mut deadlines, start + 5 * SWEEP), [0]);
    }

    #[test]
    fn entry_covers_later_deadlines_until_it_is_due_or_its_sweep_ends() {
        let start = Instant::now();
        let mut deadlines = Deadlines::since(start);
        deadlines.push();
        deadlines.begin();
        let sweep = deadlines.sweep().unwrap();
        let entry = deadlines.set(0, start, start + Duration::from_millis(5_400)).unwrap();
        let in_time = |sweep, now, deadline| entry.is_in_time(sweep, start, start + now, start + deadline);
        assert!(in_time(sweep, Duration::ZERO, 5 * SWEEP) && in_time(sweep, Duration::from_millis(4_999), 9 * SWEEP));
        assert!(!in_time(sweep, Duration::ZERO, Duration::from_millis(4_999)), "the sweep would be too late");
        assert!(!in_time(sweep, 5 * SWEEP, 9 * SWEEP), "the sweep is over");
        deadlines.end();
        assert_eq!(deadlines.sweep(), None);
        deadlines.begin();
        assert!(!in_time(deadlines.sweep().unwrap(), Duration::ZERO, 9 * SWEEP), "a new sweep does not keep the entry");
        assert!(!Entry::default().is_in_time(sweep, start, start, start + 9 * SWEEP));
    }

    #[test]
    fn nothing_is_due_without_a_sweep() {
        let start = Instant::now();
        let mut deadlines = Deadlines::since(start);
        deadlines.push();
        deadlines.begin();
        deadlines.set(0, start, start + 5 * SWEEP);
        deadlines.end();
        assert!(due(&mut deadlines, start + 5 * SWEEP).is_empty());
        assert!(deadlines.begin().is_some());
    }

    #[test]
    fn sweep_ends_with_the_last_member_and_a_new_one_may_start() {
        let mut deadlines = Deadlines::since(Instant::now());
        let cx = &mut Context::from_waker(Waker::noop());
        let first = deadlines.begin().unwrap();
        assert!(deadlines.poll_end(first, cx).is_pending(), "the first member is not added yet");
        deadlines.push();
        deadlines.swap_remove(0);
        let second = deadlines.begin().unwrap();
        assert!(deadlines.poll_end(first, cx).is_ready());
        assert!(deadlines.poll_end(second, cx).is_pending());
    }
}
