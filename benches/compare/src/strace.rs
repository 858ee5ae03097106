//! What `strace --summary-only --summary-columns=calls,name` wrote: how many system calls of which sort. Pure.

use anyhow::{Context, Result};

/// System calls by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calls {
    pub reads: u64,
    pub writes: u64,
    pub waits: u64,
    pub others: u64,
}

impl Calls {
    pub fn parse(summary: &str) -> Result<Self> {
        let mut calls = Self::default();
        let mut any = false;
        for line in summary.lines() {
            let mut words = line.split_whitespace();
            let (Some(count), Some(name), None) = (words.next(), words.next(), words.next()) else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            let sort = match name {
                "total" => continue,
                "read" | "readv" | "recvfrom" | "recvmsg" => &mut calls.reads,
                "write" | "writev" | "sendto" | "sendmsg" => &mut calls.writes,
                "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "futex" => &mut calls.waits,
                _ => &mut calls.others,
            };
            *sort += count;
            any = true;
        }
        any.then_some(calls).with_context(|| format!("no system calls in {summary:?}"))
    }

    /// What this one has beyond `less`, per unit: reads, writes, waits, others.
    pub fn beyond(self, less: Self, units: u64) -> [f64; 4] {
        let pairs = [
            (self.reads, less.reads),
            (self.writes, less.writes),
            (self.waits, less.waits),
            (self.others, less.others),
        ];
        pairs.map(|(more, less)| (more as f64 - less as f64) / units as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_sorted_and_the_sum_is_left_out() {
        let summary = "    calls syscall\n--------- ----------------\n     2000 recvfrom\n     1990 sendto\n       10 writev\n      101 epoll_wait\n        7 mmap\n--------- ----------------\n     4108 total\n";
        let calls = Calls::parse(summary).unwrap();
        assert_eq!(calls, Calls { reads: 2000, writes: 2000, waits: 101, others: 7 });
        let less = Calls { reads: 1000, writes: 1000, waits: 51, others: 7 };
        assert_eq!(calls.beyond(less, 1000), [1.0, 1.0, 0.05, 0.0]);
        assert!(Calls::parse("strace: cannot trace\n").is_err());
    }
}
