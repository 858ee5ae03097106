//! Sequence numbers of one sender in one subject: which message comes next, which were lost, which came twice. Pure.

use std::collections::{BTreeSet, VecDeque};

/// Numbers that one sender has used in one subject.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// The last number; `None` before the first is known.
    last: Option<u64>,
    /// Numbers after the last may have been used while nothing arrived.
    is_old: bool,
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The next one, or the first.
    Next,
    /// The numbers between were lost: from the first of them, so many.
    Gap { from: u64, lost: u64 },
    /// It has come already.
    Duplicate,
}

impl Track {
    /// Takes the number of a message.
    pub(crate) fn message(&mut self, seq: u64) -> Order {
        let order = match self.last {
            None => Order::Next,
            Some(last) if seq <= last => return Order::Duplicate,
            Some(last) => gap(last, seq - 1),
        };
        self.advance(seq, order)
    }

    /// Takes a mark: the sender has used the numbers up to `seq`.
    pub(crate) fn mark(&mut self, seq: u64) -> Order {
        match self.last {
            Some(last) if seq < last => Order::Next,
            last => self.advance(seq, last.map_or(Order::Next, |last| gap(last, seq))),
        }
    }

    /// Messages do not arrive any more, as the subscription has ended. The next number has no gap before it; one that has
    /// come before is still a duplicate, such as that of a recorded packet.
    pub(crate) fn reset(&mut self) {
        self.is_old = true;
    }

    fn advance(&mut self, seq: u64, order: Order) -> Order {
        self.last = Some(seq);
        if std::mem::take(&mut self.is_old) { Order::Next } else { order }
    }
}

/// The numbers after `last`, up to `end`, were lost.
fn gap(last: u64, end: u64) -> Order {
    if end > last { Order::Gap { from: last + 1, lost: end - last } } else { Order::Next }
}

/// To how many sessions the latest messages of one sender were delivered, for senders that ask.
#[derive(Debug, Default)]
pub(crate) struct Delivered(VecDeque<(usize, u64, u32)>);

/// Messages and requests that are remembered for each sender: a sender asks about a message soon after it has sent it,
/// and requests that are made at the same time come in almost any order.
const REMEMBERED: usize = 1024;

impl Delivered {
    pub(crate) fn add(&mut self, subject: usize, seq: u64, sessions: usize) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((subject, seq, u32::try_from(sessions).unwrap_or(u32::MAX)));
    }

    /// `None` if the message did not come, or came too long ago.
    pub(crate) fn sessions(&self, subject: usize, seq: u64) -> Option<u32> {
        let found = self.0.iter().rev().find(|(at, number, _)| (*at, *number) == (subject, seq));
        found.map(|(_, _, sessions)| *sessions)
    }
}

/// IDs of the requests of one sender that were done, so that a recorded packet does not do them again.
#[derive(Debug, Default)]
pub(crate) struct Done(BTreeSet<u64>);

impl Done {
    /// Notes an ID; false if it was there, or is below all that are remembered.
    pub(crate) fn is_new(&mut self, id: u64) -> bool {
        let is_full = self.0.len() == REMEMBERED;
        if is_full && self.0.first().is_some_and(|lowest| id < *lowest) || !self.0.insert(id) {
            return false;
        }
        if is_full {
            self.0.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_did_not_come_is_lost_and_nothing_comes_twice(
            first in 0..u64::MAX - 1000,
            fates in prop::collection::vec(0..4u8, 1..100),
        ) {
            let (mut track, mut counted, mut expected) = (Track::default(), 0, 0);
            prop_assert_eq!(track.mark(first), Order::Next);
            let mut last = first;
            for (seq, fate) in (first + 1..).zip(fates) {
                last = seq;
                match fate {
                    0 => expected += 1,
                    times => {
                        for again in 0..times {
                            match track.message(seq) {
                                Order::Gap { from, lost } => {
                                    prop_assert_eq!(from + lost, seq);
                                    counted += lost;
                                }
                                order => prop_assert_eq!(order == Order::Duplicate, again > 0),
                            }
                        }
                    }
                }
            }
            if let Order::Gap { lost, .. } = track.mark(last) {
                counted += lost;
            }
            prop_assert_eq!(counted, expected);
        }
    }

    #[test]
    fn first_number_has_no_gap_before_it() {
        let mut track = Track::default();
        assert_eq!(track.message(100), Order::Next);
        assert_eq!(track.message(103), Order::Gap { from: 101, lost: 2 });
        track.reset();
        assert_eq!(track.message(103), Order::Duplicate);
        assert_eq!(track.mark(90), Order::Next);
        assert_eq!(track.message(500), Order::Next);
        assert_eq!(track.message(502), Order::Gap { from: 501, lost: 1 });
        track.reset();
        assert_eq!(track.mark(600), Order::Next);
        track.reset();
        // nothing was sent meanwhile
        assert_eq!(track.mark(600), Order::Next);
        assert_eq!(track.message(602), Order::Gap { from: 601, lost: 1 });
        track = Track { last: Some(500), ..Track::default() };
        assert_eq!(track.mark(400), Order::Next);
        assert_eq!(track.message(450), Order::Duplicate);
    }

    #[test]
    fn each_request_is_done_once() {
        let mut done = Done::default();
        assert!([5, 4, 9].iter().all(|id| done.is_new(*id)));
        assert!([5, 4, 9].iter().all(|id| !done.is_new(*id)));
        assert!((100..3000).all(|id| done.is_new(id)));
        assert_eq!(done.0.len(), REMEMBERED);
        assert!((0..3000).all(|id| !done.is_new(id)));
        assert!(done.is_new(u64::MAX) && !done.is_new(u64::MAX));
    }

    #[test]
    fn deliveries_are_remembered_for_a_while() {
        let mut delivered = Delivered::default();
        (0..2000).for_each(|seq| delivered.add(7, seq, 3));
        assert_eq!(delivered.sessions(7, 1999), Some(3));
        assert_eq!(delivered.sessions(8, 1999), None);
        assert_eq!(delivered.sessions(7, 5), None);
    }
}
