//! The rates of one session.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::message_rate::{MessageRate, OverRate};
use super::rate::Rate;

/// Time between two reports to `on_error` about dropped messages.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Measures what a peer sends.
#[derive(Debug)]
pub(crate) struct Meter {
    rate: MessageRate,
    messages: Bucket,
    bytes: Bucket,
    /// The rates of single handlers, each with its bucket.
    own: Vec<(Rate, Bucket)>,
    /// What happens over the rate of a handler.
    own_then: OverRate,
    /// A message in parts is being dropped.
    drops_rest: bool,
    /// When a dropped message was last reported.
    reported: Option<Instant>,
}

/// What happens to a message or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charged {
    /// It is handled.
    Admitted,
    /// It is handled, and then the socket is not read for this time.
    Slowed(Duration),
    /// It is dropped, with a report to `on_error`.
    Reported,
    /// It is dropped.
    Dropped,
    /// The session ends.
    Closes,
}

/// A message, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    /// Whether a message begins with it.
    pub(crate) first: bool,
    /// Whether a message ends with it.
    pub(crate) last: bool,
    /// The index of its handler's own rate.
    pub(crate) own: Option<usize>,
}

impl Meter {
    /// `own` are the rates of single handlers. `None` if nothing is limited.
    pub(crate) fn of(rate: Option<MessageRate>, own: impl IntoIterator<Item = Rate>) -> Option<Self> {
        let own: Vec<_> = own.into_iter().map(|rate| (rate, Bucket::default())).collect();
        let own_then = rate.map_or(OverRate::Error, |rate| rate.then);
        let rate = rate.unwrap_or_default();
        let (messages, bytes, reported) = <_>::default();
        let meter = Self { rate, messages, bytes, own, own_then, drops_rest: false, reported };
        (!rate.is_empty() || !meter.own.is_empty()).then_some(meter)
    }

    /// Charges a message or a part.
    pub(crate) fn charge(&mut self, received: Received, now: Instant) -> Charged {
        let Received { bytes, first, last, own } = received;
        if self.drops_rest && !first {
            self.drops_rest = !last;
            return Charged::Dropped;
        }
        let over = if first { self.over(own, now) } else { None };
        match over {
            None | Some(OverRate::Slow) => {}
            Some(over) => {
                // a pong may stand between two parts
                self.drops_rest |= !last;
                return match over {
                    OverRate::Close => Charged::Closes,
                    OverRate::Drop if self.is_reported(now) => Charged::Dropped,
                    _ => Charged::Reported,
                };
            }
        }
        self.spend(usize::from(first), bytes, own.filter(|_| first), now);
        self.pause(now)
    }

    /// Charges what cannot be dropped: the rest of a stream, or control frames.
    pub(crate) fn charge_always(&mut self, messages: usize, bytes: usize, now: Instant) -> Charged {
        if self.rate.then == OverRate::Close && messages > 0 && self.over(None, now).is_some() {
            return Charged::Closes;
        }
        self.spend(messages, bytes, None, now);
        self.pause(now)
    }

    /// What happens to a message that begins now, if there is no space for it.
    fn over(&self, own: Option<usize>, now: Instant) -> Option<OverRate> {
        if self.wait(now) > Duration::ZERO {
            return Some(self.rate.then);
        }
        let (rate, bucket) = self.own.get(own?)?;
        (bucket.wait(rate, now) > Duration::ZERO).then_some(self.own_then)
    }

    /// The time after which the rate of all messages allows the next one: a whole message, and any bytes.
    fn wait(&self, now: Instant) -> Duration {
        let messages = self.rate.messages.as_ref().map(|rate| self.messages.wait(rate, now));
        let bytes = self.rate.bytes.as_ref().map(|rate| self.bytes.wait(rate, now));
        messages.max(bytes).unwrap_or_default()
    }

    fn spend(&mut self, messages: usize, bytes: usize, own: Option<usize>, now: Instant) {
        if let Some(rate) = &self.rate.messages {
            self.messages.spend(rate, messages as u64, now);
        }
        if let Some(rate) = &self.rate.bytes {
            self.bytes.spend(rate, bytes as u64, now);
        }
        if let Some((rate, bucket)) = own.and_then(|own| self.own.get_mut(own)) {
            bucket.spend(rate, 1, now);
        }
    }

    /// How long the socket is not read, if a rate slows the peer down.
    fn pause(&self, now: Instant) -> Charged {
        if self.rate.then != OverRate::Slow {
            return Charged::Admitted;
        }
        match self.wait(now).max(self.own_wait(now)) {
            Duration::ZERO => Charged::Admitted,
            wait => Charged::Slowed(wait),
        }
    }

    /// The time after which the rates of all handlers allow the next message, if they slow the peer down.
    fn own_wait(&self, now: Instant) -> Duration {
        let own = self.own.iter().filter(|_| self.own_then == OverRate::Slow);
        own.map(|(rate, bucket)| bucket.wait(rate, now)).max().unwrap_or_default()
    }

    /// Whether a dropped message was reported within the last second; if not, this one is.
    fn is_reported(&mut self, now: Instant) -> bool {
        let is_reported = self.reported.is_some_and(|last| now.saturating_duration_since(last) < REPORT_EVERY);
        if !is_reported {
            self.reported = Some(now);
        }
        is_reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn meter(rate: MessageRate, own: &[Rate]) -> Meter {
        Meter::of(Some(rate), own.iter().copied()).unwrap()
    }

    fn whole(bytes: usize) -> Received {
        Received { bytes, first: true, last: true, own: None }
    }

    fn three() -> MessageRate {
        MessageRate::new().messages(Rate::per_second(1).burst(3))
    }

    fn charges(meter: &mut Meter, count: usize, now: Instant) -> Vec<Charged> {
        (0..count).map(|_| meter.charge(whole(10), now)).collect()
    }

    #[test]
    fn nothing_to_limit_needs_no_meter() {
        assert!(Meter::of(None, []).is_none());
        assert!(Meter::of(Some(MessageRate::new()), []).is_none());
    }

    #[test]
    fn slow_admits_every_message_and_pauses_once_the_burst_is_used() {
        let (mut meter, now) = (meter(three(), &[]), Instant::now());
        let charged = charges(&mut meter, 4, now);
        assert_eq!(
            charged,
            [Charged::Admitted, Charged::Admitted, Charged::Slowed(SECOND), Charged::Slowed(2 * SECOND)]
        );
    }

    #[test]
    fn drop_reports_once_a_second() {
        let (mut meter, now) = (meter(three().then(OverRate::Drop), &[]), Instant::now());
        let charged = charges(&mut meter, 6, now);
        assert_eq!(charged[..3], [Charged::Admitted; 3]);
        assert_eq!(charged[3..], [Charged::Reported, Charged::Dropped, Charged::Dropped]);
        let charged = charges(&mut meter, 3, now + SECOND);
        assert_eq!(charged, [Charged::Admitted, Charged::Reported, Charged::Dropped]);
    }

    #[test]
    fn error_reports_each_and_close_ends() {
        let now = Instant::now();
        let mut error = meter(three().then(OverRate::Error), &[]);
        assert_eq!(charges(&mut error, 5, now)[3..], [Charged::Reported; 2]);
        let mut close = meter(three().then(OverRate::Close), &[]);
        assert_eq!(charges(&mut close, 4, now)[3], Charged::Closes);
    }

    #[test]
    fn parts_count_as_one_message_and_a_dropped_message_is_dropped_to_its_end() {
        let rate = MessageRate::new().messages(Rate::per_second(1).burst(1)).then(OverRate::Error);
        let (mut meter, now) = (meter(rate, &[]), Instant::now());
        let mut part = |first, last| meter.charge(Received { bytes: 5, first, last, own: None }, now);
        assert_eq!([part(true, false), part(false, false), part(false, true)], [Charged::Admitted; 3]);
        assert_eq!([part(true, false), part(false, true)], [Charged::Reported, Charged::Dropped]);
    }

    #[test]
    fn bytes_of_a_large_message_are_owed() {
        let rate = MessageRate::new().bytes(Rate::per_second(100)).then(OverRate::Drop);
        let (mut meter, now) = (meter(rate, &[]), Instant::now());
        assert_eq!(meter.charge(whole(1000), now), Charged::Admitted);
        assert_eq!(meter.charge(whole(1), now + 8 * SECOND), Charged::Reported);
        assert_eq!(meter.charge(whole(1), now + 10 * SECOND), Charged::Admitted);
    }

    #[test]
    fn handler_has_its_own_rate_beside_that_of_all() {
        let own = [Rate::per_second(1).burst(1)];
        let rate = MessageRate::new().messages(Rate::per_second(100)).then(OverRate::Drop);
        let (mut meter, now) = (meter(rate, &own), Instant::now());
        let search = Received { own: Some(0), ..whole(1) };
        assert_eq!(meter.charge(search, now), Charged::Admitted);
        assert_eq!(meter.charge(search, now), Charged::Reported);
        assert_eq!(meter.charge(whole(1), now), Charged::Admitted);
    }

    #[test]
    fn rate_of_a_handler_alone_is_an_error() {
        let (mut meter, now) = (Meter::of(None, [Rate::per_second(1)]).unwrap(), Instant::now());
        let search = Received { own: Some(0), ..whole(1) };
        assert_eq!(meter.charge(search, now), Charged::Admitted);
        assert_eq!(meter.charge(search, now), Charged::Reported);
    }

    #[test]
    fn control_frames_use_up_the_rate_and_only_close_acts_on_them() {
        let now = Instant::now();
        let mut drops = meter(three().then(OverRate::Drop), &[]);
        assert!((0..5).all(|_| drops.charge_always(1, 4, now) == Charged::Admitted));
        assert_eq!(drops.charge(whole(1), now), Charged::Reported);
        let mut closes = meter(three().then(OverRate::Close), &[]);
        let charged: Vec<_> = (0..4).map(|_| closes.charge_always(1, 4, now)).collect();
        assert_eq!(charged[2..], [Charged::Admitted, Charged::Closes]);
        let mut slows = meter(three(), &[]);
        let charged: Vec<_> = (0..3).map(|_| slows.charge_always(1, 4, now)).collect();
        assert!(matches!(charged[2], Charged::Slowed(_)), "{charged:?}");
    }
}
