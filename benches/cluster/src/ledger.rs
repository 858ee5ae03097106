//! Which lines each session received: what is lost, doubled or out of order. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The lines of one sender at one receiver.
#[derive(Debug, Default)]
struct Column {
    /// One more than the highest number received.
    next: u32,
    /// Below it and not received.
    missing: BTreeSet<u32>,
}

/// Counts of faults. All are 0 when every line arrived once and in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    pub lost: u64,
    pub duplicates: u64,
    /// Received after a later line of the same sender.
    pub disordered: u64,
}

/// A column for each sender of the room at each session.
#[derive(Debug)]
pub struct Ledger {
    columns: Vec<Column>,
    senders: usize,
    faults: Faults,
}

impl Ledger {
    pub fn new(sessions: usize, senders: usize) -> Self {
        let columns = (0..sessions * senders).map(|_| Column::default()).collect();
        Self { columns, senders, faults: Faults::default() }
    }

    /// `receiver` has line `number` of its room's sender `sender`. Says whether it is new.
    pub fn enter(&mut self, receiver: usize, sender: usize, number: u32) -> bool {
        let column = &mut self.columns[receiver * self.senders + sender];
        if number >= column.next {
            column.missing.extend(column.next..number);
            column.next = number + 1;
            return true;
        }
        if column.missing.remove(&number) {
            self.faults.disordered += 1;
            return true;
        }
        self.faults.duplicates += 1;
        false
    }

    /// The end: `sent(receiver, sender)` lines were to come.
    pub fn close(mut self, sent: impl Fn(usize, usize) -> u32) -> Faults {
        for (at, column) in self.columns.iter().enumerate() {
            let sent = sent(at / self.senders, at % self.senders);
            self.faults.lost += column.missing.len() as u64 + u64::from(sent.saturating_sub(column.next));
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(numbers: &[u32], sent: u32) -> Faults {
        let mut ledger = Ledger::new(2, 2);
        for number in numbers {
            ledger.enter(1, 1, *number);
        }
        ledger.close(|receiver, sender| if (receiver, sender) == (1, 1) { sent } else { 0 })
    }

    #[test]
    fn every_line_once_and_in_order_is_no_fault() {
        assert_eq!(faults(&[0, 1, 2], 3), Faults::default());
    }

    #[test]
    fn lost_doubled_and_disordered_lines_are_counted() {
        assert_eq!(faults(&[0, 3], 6), Faults { lost: 4, ..Faults::default() });
        assert_eq!(faults(&[0, 0, 1, 0], 2), Faults { duplicates: 2, ..Faults::default() });
        assert_eq!(faults(&[1, 0, 2], 3), Faults { disordered: 1, ..Faults::default() });
    }
}
