//! A write that waits for the peer to read, or whose completion must be reported in any case.

use std::time::Duration;

use tokio::time::Instant;

use super::timers::after;
use crate::send_queue::Ticket;
use endpoint_wire::message::Binary;

/// Size in bytes of a control frame's header, without a mask.
const CONTROL_HEADER: usize = 2;

/// State of output that the peer does not take at once.
#[derive(Default)]
pub(super) struct Stall {
    /// When the peer stopped reading entirely.
    since: Option<Instant>,
    /// When the current rate measurement began, and the bytes that the peer has taken since.
    taken: Option<(Instant, usize)>,
    /// The bytes left until the messages up to the ticket are written.
    mark: Option<(usize, Ticket)>,
    /// The number of waiting bytes that was last reported to the queue.
    reported_bytes: usize,
    /// The answer to the latest ping while a write is blocked; earlier pings go unanswered (RFC 6455 §5.5.3).
    pong: Option<Binary>,
    /// The bytes left until a delayed pong, since added to the output, is written.
    pong_left: usize,
    /// The bytes of pongs that were left out. They throttle the peer as if they were queued.
    left_out: usize,
}

impl Stall {
    pub(super) fn is_blocked(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Notes that the peer accepts nothing since `now`.
    pub(super) fn block(&mut self, now: Instant) {
        self.since = Some(now);
        self.taken.get_or_insert((now, 0));
    }

    /// Notes that the peer takes bytes. Returns whether it took none until now.
    pub(super) fn unblock(&mut self) -> bool {
        self.since.take().is_some()
    }

    /// Marks that the messages up to `ticket` are written after `left` bytes, unless there is a mark.
    pub(super) fn set_mark(&mut self, left: usize, ticket: Ticket) {
        self.mark.get_or_insert((left, ticket));
    }

    /// Moves the mark by `written` bytes. Returns its ticket once it is reached, unless the output is empty: then
    /// everything is reported at once.
    pub(super) fn pass_mark(&mut self, written: usize, is_empty: bool) -> Option<Ticket> {
        let (left, _) = self.mark.as_mut()?;
        *left = left.saturating_sub(written);
        self.mark.take_if(|(left, _)| *left == 0 && !is_empty).map(|(_, ticket)| ticket)
    }

    /// Notes that the queue learns of `left` waiting bytes. Returns whether that is news.
    pub(super) fn report_bytes(&mut self, left: usize) -> bool {
        std::mem::replace(&mut self.reported_bytes, left) != left
    }

    /// Keeps the answer to the latest ping in place of an earlier one.
    pub(super) fn keep_pong(&mut self, data: &[u8]) {
        let before = self.pong.replace(data.into());
        self.left_out += before.map_or(0, |pong| CONTROL_HEADER + pong.len());
    }

    /// The kept pong, once `written` more bytes leave none in the output.
    pub(super) fn take_pong_after(&mut self, written: usize) -> Option<Binary> {
        if let Some((_, taken)) = &mut self.taken {
            *taken += written;
        }
        self.left_out = self.left_out.saturating_sub(written);
        self.pong_left = self.pong_left.saturating_sub(written);
        self.pong.take_if(|_| self.pong_left == 0)
    }

    /// Notes that a kept pong is written after `left` bytes.
    pub(super) fn note_pong(&mut self, left: usize) {
        self.pong_left = left;
    }

    pub(super) fn into_pong(self) -> Option<Binary> {
        self.pong
    }

    /// Checks that the peer reads something within the send timeout, and `min_rate` bytes per second on average. Returns
    /// when to check again, or why the session must end.
    pub(super) fn check(
        &mut self,
        now: Instant,
        timeout: Option<Duration>,
        min_rate: usize,
    ) -> Result<Option<Instant>, String> {
        let (Some(since), Some(timeout)) = (self.since, timeout) else { return Ok(None) };
        let limit = after(since, timeout);
        if limit <= now {
            return Err("the peer does not read".to_owned());
        }
        let Some((began, taken)) = self.taken.as_mut().filter(|_| min_rate > 0) else { return Ok(Some(limit)) };
        if after(*began, timeout) <= now {
            // the peer took something, or the limit above would have passed
            if (*taken as u128) < (min_rate as u128).saturating_mul(timeout.as_millis()) / 1000 {
                return Err(format!("the peer reads fewer than {min_rate} bytes per second"));
            }
            (*began, *taken) = (now, 0);
        }
        Ok(Some(limit.min(after(*began, timeout))))
    }
}
