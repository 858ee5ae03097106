//! A client process of the run: up to 19,000 sessions from many loopback addresses, in one thread.

use std::net::SocketAddr;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compare::load::Target;
use compare::load::socket::Poller;
use compare::script::Echo;
use compare::stats::Histogram;

use crate::clock;
use crate::orders::{Answer, Counts, Order, Talk, incoming, reply};
use crate::server::{PATH, round_text};
use crate::session::{Heard, Opening, SCRATCH, Session, Talking};

/// Handshakes under way at a time.
const WAVE: usize = 32;

/// Longest wait for a socket while no session talks; orders of the driver wait for it.
const IDLE_WAIT: Duration = Duration::from_millis(20);
const TALKING_WAIT: Duration = Duration::from_millis(1);

/// Sizes of the messages of an active session, in turn: few are long.
const SIZES: [usize; 8] = [20, 20, 60, 20, 120, 20, 1 << 10, 8 << 10];

struct Crowd {
    target: Target,
    first: usize,
    count: usize,
    /// `None` where a session has ended.
    sessions: Vec<Option<Session>>,
    poller: Poller,
    scratch: Vec<u8>,
    counts: Counts,
    latencies: Histogram,
    slowest: u64,
    talk: Option<Pace>,
}

/// An open loop: each message has its time, whatever was heard.
struct Pace {
    talk: Talk,
    since: u64,
    /// Messages that were due so far.
    sent: u64,
}

/// Obeys the driver until it is gone. The sessions have the numbers from `first` on, which decide their addresses.
pub fn run(addr: SocketAddr, first: usize, count: usize) -> Result<()> {
    let orders = incoming();
    let mut crowd = Crowd {
        target: Target::new(addr, PATH, Echo::WebSocket)?,
        first,
        count,
        sessions: Vec::with_capacity(count),
        poller: Poller::new()?,
        scratch: vec![0; SCRATCH],
        counts: Counts::default(),
        latencies: Histogram::new(),
        slowest: 0,
        talk: None,
    };
    reply(&Answer::Ready)?;
    loop {
        match orders.try_recv() {
            Ok(order) => {
                let answer = crowd.obey(order);
                reply(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))))?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        crowd.send_due()?;
        let wait = if crowd.talk.is_some() { TALKING_WAIT } else { IDLE_WAIT };
        crowd.listen(wait)?;
    }
}

impl Crowd {
    fn obey(&mut self, order: Order) -> Result<Answer> {
        match order {
            Order::Open => {
                while self.sessions.len() < self.count {
                    self.open_wave()?;
                    // those that are open want their pings answered, all of them: a server closes one that does not answer
                    while self.listen(Duration::ZERO)? > 0 {}
                    let Counts { ended, why, .. } = &self.counts;
                    ensure!(
                        *ended == 0,
                        "{ended} sessions ended while others opened; {}",
                        why.as_deref().unwrap_or("")
                    );
                }
                Ok(Answer::Open(self.counts.open))
            }
            Order::Counts => {
                let us = |share| self.latencies.quantile_us(share);
                let slowest_us = self.slowest as f64 / 1000.0;
                Ok(Answer::Counts(Counts {
                    p50_us: us(0.5),
                    p99_us: us(0.99),
                    p999_us: us(0.999),
                    slowest_us,
                    ..self.counts.clone()
                }))
            }
            Order::Talk(talk) => {
                ensure!(talk.active > 0 && talk.active <= self.sessions.len(), "there are no {} sessions", talk.active);
                self.talk = Some(Pace { talk, since: clock::now()?, sent: 0 });
                Ok(Answer::Done)
            }
            Order::Silence => {
                self.talk = None;
                Ok(Answer::Done)
            }
            other => Ok(Answer::Failed(format!("clients cannot do {other:?}"))),
        }
    }

    fn open_wave(&mut self) -> Result<()> {
        let from = self.sessions.len();
        let numbers = from..(from + WAVE).min(self.count);
        let wave: Vec<Opening> =
            numbers.map(|number| Opening::start(&self.target, self.first + number)).collect::<Result<_>>()?;
        for opening in wave {
            let number = self.sessions.len();
            let session = opening.finish(&self.target).with_context(|| format!("session {number} did not open"))?;
            self.poller.add(session.stream(), number)?;
            self.sessions.push(Some(session));
            self.counts.open += 1;
        }
        Ok(())
    }

    /// Serves the sockets that are ready, after at most `wait`. Returns their number.
    fn listen(&mut self, wait: Duration) -> Result<usize> {
        let count = self.poller.wait_for(wait)?;
        for at in 0..count {
            let ready = self.poller.ready(at);
            let place = &mut self.sessions[ready.index];
            let Some(session) = place else { continue };
            let (counts, latencies, slowest) = (&mut self.counts, &mut self.latencies, &mut self.slowest);
            let index = ready.index;
            let advanced = session.advance(ready, &mut self.scratch, |round, talk, heard| {
                let text = match heard {
                    Heard::Ping => {
                        counts.pings += 1;
                        return Ok(());
                    }
                    Heard::Text(text) => text,
                };
                let now = clock::now()?;
                if text == round_text(*round + 1) {
                    *round += 1;
                    counts.hear(*round, now);
                } else if let Some(since) = echo_of(index, talk, text) {
                    let latency = now.saturating_sub(since);
                    counts.echoed += 1;
                    latencies.record(Duration::from_nanos(latency));
                    *slowest = latency.max(*slowest);
                } else {
                    counts.wrong += 1;
                }
                Ok(())
            });
            if let Err(error) = advanced {
                *place = None;
                self.counts.open -= 1;
                self.counts.ended += 1;
                self.counts.why.get_or_insert_with(|| format!("session {index}: {error:#}"));
            }
        }
        Ok(count)
    }

    /// Sends what is due by now.
    fn send_due(&mut self) -> Result<()> {
        let Some(Pace { talk, since, sent }) = &mut self.talk else { return Ok(()) };
        let now = clock::now()?;
        let due = ((now - *since) as f64 / 1e9 * talk.rate) as u64;
        while *sent < due {
            let index = (*sent % talk.active as u64) as usize;
            let time = *since + (*sent as f64 / talk.rate * 1e9) as u64;
            *sent += 1;
            // one that has ended is counted as such
            let Some(session) = &mut self.sessions[index] else { continue };
            let talking = session.talk.get_or_insert_with(Box::default);
            let text = message(index, talking.next);
            talking.next += 1;
            talking.under_way.push_back(time);
            self.counts.sent += 1;
            if let Err(error) = session.send(&text) {
                self.sessions[index] = None;
                self.counts.open -= 1;
                self.counts.ended += 1;
                self.counts.why.get_or_insert_with(|| format!("session {index}: {error:#}"));
            }
        }
        Ok(())
    }
}

impl Counts {
    /// A round has reached another session.
    fn hear(&mut self, round: u32, now: u64) {
        if round > self.round {
            (self.round, self.heard) = (round, 0);
        }
        // the last session to hear an older round says nothing about this one
        if round == self.round {
            self.heard += 1;
            self.last_heard = now;
        }
    }
}

/// The time of the oldest message under way, if `text` is its echo.
fn echo_of(session: usize, talk: &mut Option<Box<Talking>>, text: &str) -> Option<u64> {
    let talk = talk.as_mut()?;
    let number = talk.next - talk.under_way.len() as u64;
    if text != message(session, number) {
        return None;
    }
    talk.under_way.pop_front()
}

/// A message of a session: its session and its number, filled up.
fn message(session: usize, number: u64) -> String {
    let size = SIZES[(number % SIZES.len() as u64) as usize];
    let mut text = format!("{session}/{number} ");
    let fill = size.saturating_sub(text.len());
    text.extend(std::iter::repeat_n('.', fill));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_session_and_its_number() {
        assert_eq!(message(7, 0), "7/0 ................");
        assert_eq!(message(7, 7).len(), 8 << 10);
        assert_ne!(message(7, 1), message(7, 3));
    }

    #[test]
    fn an_echo_is_accepted_only_in_order() {
        let talking = Talking { next: 2, under_way: [10, 20].into() };
        let mut talk = Some(Box::new(talking));
        assert_eq!(echo_of(1, &mut talk, &message(1, 1)), None);
        assert_eq!(echo_of(1, &mut talk, &message(1, 0)), Some(10));
        assert_eq!(echo_of(1, &mut talk, &message(1, 0)), None);
        assert_eq!(echo_of(1, &mut talk, &message(1, 1)), Some(20));
    }

    #[test]
    fn a_round_is_complete_when_all_sessions_heard_it() {
        let mut counts = Counts::default();
        counts.hear(1, 5);
        counts.hear(1, 6);
        assert_eq!((counts.round, counts.heard, counts.last_heard), (1, 2, 6));
        counts.hear(2, 9);
        counts.hear(1, 10);
        assert_eq!((counts.round, counts.heard, counts.last_heard), (2, 1, 9));
    }
}
