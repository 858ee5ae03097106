//! How much of one peer is taken before others are served: a quantum, as in deficit round robin. It has a bound in bytes
//! and one in time, because handlers cost what they do, and not what their message has.
//!
//! Who pauses is served whenever something comes from it. Who goes on beyond its quantum goes into a round at its
//! endpoint, where as many are served at a time as the runtime has threads; after each of them the runtime looks at its
//! sockets, and serves everybody else first. So who says little waits for one quantum of those who never stop, and not
//! for one of each.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio_util::sync::PollSemaphore;

use crate::scheduling::per_runtime::PerRuntime;

/// In bytes that are read, written or made: some ten microseconds of work.
const QUANTUM: isize = 64 << 10;

/// What a frame counts beside its bytes: to decode and dispatch it is about as much work as to read and write one
/// kilobyte.
const FRAME: usize = 1 << 10;

/// One in the round while nobody else has anything to say: a message of a megabyte, and an answer as large. To have
/// many of them under way costs more than to finish one that is in the caches.
const BULK_BUDGET: isize = 2 << 20;

/// So long handlers may run in one quantum, and in a long one: what they do costs time that no count of bytes tells.
const TIME: Duration = Duration::from_micros(200);
const BULK_TIME: Duration = Duration::from_millis(1);

/// The clock is read after so many calls of a handler, then after so many more, and from then on after each
/// [`LOOK_EVERY`]: a peer that waits for each answer costs no look at it.
const FIRST_LOOK: u32 = 2;
const SECOND_LOOK: u32 = 4;
const LOOK_EVERY: u32 = 16;

/// What is left of a quantum whose time is over.
const OVERTIME: isize = isize::MIN;

/// Who takes less than that before it pauses says little.
const LIGHT_BYTES: isize = 16 << 10;

/// So many in the round are none of the long ones after somebody said little.
const BULK_COOLDOWN: u32 = 64;

thread_local! {
    /// How often somebody has paused on this thread who said little.
    static PAUSES: Cell<u32> = const { Cell::new(0) };
    /// The same as it was when one in a round began here last, and how many more are not to be long.
    static LAST_PAUSES: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    /// The cost of the handler that runs on this thread, beside its message.
    static CHARGED: Cell<usize> = const { Cell::new(0) };
    /// The calls of handlers until the clock is read: one number to count down, because each message pays for it.
    static UNTIL_LOOK: Cell<u32> = const { Cell::new(FIRST_LOOK) };
    /// When the clock was read first since a connection's task was resumed on this thread.
    static RESUMED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Notes that a handler does work that counts as much as so many bytes.
pub(crate) fn charge(bytes: usize) {
    CHARGED.set(CHARGED.get().saturating_add(bytes));
    // the call's end looks at both, the clock and what was charged
    UNTIL_LOOK.set(1);
}

/// Those at an endpoint who do not pause, one after the other on each runtime. Who has a permit is served.
#[derive(Debug, Default)]
pub(crate) struct RoundRobin(PerRuntime<Semaphore>);

impl RoundRobin {
    /// One for each thread of the runtime.
    fn permits(&self) -> Arc<Semaphore> {
        match Handle::try_current() {
            Ok(runtime) => self.0.of(&runtime, || Semaphore::new(runtime.metrics().num_workers().max(1))),
            Err(_) => Arc::new(Semaphore::new(1)),
        }
    }

    fn slot(&self, state: State, permit: Option<OwnedSemaphorePermit>) -> Box<Slot> {
        Box::new(Slot { state, permit, next: PollSemaphore::new(self.permits()), slow: false })
    }
}

/// What is left of a peer's quantum.
pub(crate) struct Quantum {
    left: isize,
    /// There from its end until the peer pauses.
    slot: Option<Box<Slot>>,
}

/// A slot in a round.
struct Slot {
    state: State,
    /// Kept for as long as the state is not `Queued`.
    permit: Option<OwnedSemaphorePermit>,
    next: PollSemaphore,
    /// Its handlers have used the time of a quantum up: the clock is read after each of them.
    slow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// This peer is served.
    Running,
    /// It was: everybody else is now, and then the next in the round.
    Yielding,
    /// It will be.
    Queued,
}

impl Quantum {
    pub(crate) fn new() -> Self {
        Self { left: QUANTUM, slot: None }
    }

    /// Notes that so many bytes were read, written or made.
    #[inline]
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub_unsigned(bytes);
    }

    /// Notes a frame that was decoded, and what it was made into.
    #[inline]
    pub(crate) fn spend_on_frame(&mut self, bytes: usize) {
        self.spend(FRAME + bytes);
    }

    /// A handler was called, and has returned or is suspended.
    #[inline]
    pub(crate) fn called(&mut self) {
        let left = UNTIL_LOOK.get() - 1;
        UNTIL_LOOK.set(left);
        if left == 0 {
            self.look();
        }
    }

    /// Takes what was charged, and ends the quantum if its time is over.
    #[cold]
    fn look(&mut self) {
        self.spend(CHARGED.replace(0));
        let now = Instant::now();
        let is_slow = self.slot.as_ref().is_some_and(|slot| slot.slow);
        let Some(resumed) = RESUMED.get() else {
            RESUMED.set(Some(now));
            return UNTIL_LOOK.set(if is_slow { 1 } else { SECOND_LOOK });
        };
        UNTIL_LOOK.set(if is_slow { 1 } else { LOOK_EVERY });
        let is_long = self.slot.is_some() && !is_slow && is_quiet();
        if now - resumed >= if is_long { BULK_TIME } else { TIME } {
            self.left = OVERTIME;
        }
    }

    /// Whether others come first before more is taken.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.left <= 0
    }

    /// Whether the task was suspended since it was over: then what it has gathered has to wait, too.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.state != State::Running)
    }

    /// How many bytes may be read or written at once.
    #[inline]
    pub(crate) fn most(&self) -> usize {
        self.left.max(LIGHT_BYTES) as usize
    }

    /// Whether it goes on, or the next one begins. If not, the task is to be [suspended](Self::suspend), and will be
    /// woken for it.
    #[inline]
    pub(crate) fn goes_on(&mut self, round: &RoundRobin, cx: &mut Context<'_>) -> bool {
        !self.is_over() || self.begins(round, cx)
    }

    #[cold]
    fn begins(&mut self, round: &RoundRobin, cx: &mut Context<'_>) -> bool {
        let begins = match &mut self.slot {
            // it is over, and the task is not suspended yet
            Some(slot) if slot.state == State::Running => false,
            Some(slot) => slot.poll_next(cx).is_ready(),
            None => {
                // there is nobody else to serve first: it may go on at once
                let permit = if is_quiet() { round.permits().try_acquire_owned().ok() } else { None };
                self.slot = permit.map(|permit| round.slot(State::Running, Some(permit)));
                self.slot.is_some()
            }
        };
        if begins {
            let slow = self.left == OVERTIME;
            self.slot.iter_mut().for_each(|slot| slot.slow = slow);
            UNTIL_LOOK.set(if slow { 1 } else { FIRST_LOOK });
            RESUMED.set(slow.then(Instant::now));
            self.left = length();
        }
        begins
    }

    /// The task is about to be suspended: because the peer has paused, or because the quantum is over. Then the task is
    /// woken when it has the next one.
    #[inline]
    pub(crate) fn suspend(&mut self, round: &RoundRobin, cx: &mut Context<'_>) {
        if UNTIL_LOOK.get() != FIRST_LOOK {
            self.end_turn();
        }
        if self.is_over() {
            self.end(round, cx);
        } else if self.slot.take().is_some() {
            // it may have to go back soon
            self.left = LIGHT_BYTES;
        } else {
            if (QUANTUM - LIGHT_BYTES..QUANTUM).contains(&self.left) {
                PAUSES.set(PAUSES.get().wrapping_add(1));
            }
            // who takes three quarters of a quantum between two pauses never uses one up
            self.left = QUANTUM - (QUANTUM - self.left) / 4;
        }
    }

    /// Takes what a handler was charged that is suspended, and forgets the time of this turn.
    fn end_turn(&mut self) {
        self.spend(CHARGED.replace(0));
        UNTIL_LOOK.set(FIRST_LOOK);
        RESUMED.set(None);
    }

    #[cold]
    fn end(&mut self, round: &RoundRobin, cx: &mut Context<'_>) {
        let slot = self.slot.get_or_insert_with(|| round.slot(State::Running, None));
        if slot.state != State::Queued {
            slot.state = State::Yielding;
            // the runtime looks at its sockets before it wakes who yields
            let _ = pin!(yield_now()).poll(cx);
        }
    }
}

impl Slot {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        (self.permit, self.state) = (None, State::Queued);
        self.permit = ready!(self.next.poll_acquire(cx));
        self.state = State::Running;
        Poll::Ready(())
    }
}

/// Whether nobody who says little was heard on this thread of late.
fn is_quiet() -> bool {
    LAST_PAUSES.get() == (PAUSES.get(), 0)
}

/// Of one in a round that begins now on this thread.
fn length() -> isize {
    let (pauses, (before, short)) = (PAUSES.get(), LAST_PAUSES.get());
    let short = if pauses == before { short } else { BULK_COOLDOWN };
    LAST_PAUSES.set((pauses, short.saturating_sub(1)));
    if short > 0 { QUANTUM } else { BULK_BUDGET }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use super::*;

    /// A peer that never pauses, and the bytes that were taken from it.
    fn flood(round: &Arc<RoundRobin>) -> (JoinHandle<()>, Arc<AtomicUsize>) {
        let (round, taken) = (round.clone(), Arc::new(AtomicUsize::new(0)));
        let (mut quantum, count) = (Quantum::new(), taken.clone());
        let task = poll_fn(move |cx| {
            while quantum.goes_on(&round, cx) {
                quantum.spend(1 << 10);
                count.fetch_add(1 << 10, Ordering::Relaxed);
            }
            quantum.suspend(&round, cx);
            Poll::Pending
        });
        (tokio::spawn(task), taken)
    }

    /// A peer that says something, and waits until it has come through its socket.
    struct Witness {
        near: TcpStream,
        far: TcpStream,
        quantum: Quantum,
    }

    impl Witness {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            Self { near, far: listener.accept().await.unwrap().0, quantum: Quantum::new() }
        }

        async fn is_heard(&mut self, round: &RoundRobin) {
            self.near.write_all(b"!").await.unwrap();
            // a loop over what the socket is known to have would not look at it again
            yield_now().await;
            self.far.read_u8().await.unwrap();
            poll_fn(|cx| {
                self.quantum.spend(1);
                self.quantum.suspend(round, cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    fn sum(taken: &[Arc<AtomicUsize>]) -> usize {
        taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    #[tokio::test]
    async fn who_says_little_waits_for_one_of_those_who_never_stop() {
        let round = Arc::new(RoundRobin::default());
        let mut witness = Witness::new().await;
        witness.is_heard(&round).await;
        let (floods, taken): (Vec<_>, Vec<_>) = (0..100).map(|_| flood(&round)).unzip();
        // the first of each is not in the round
        witness.is_heard(&round).await;
        let before = sum(&taken);
        for _ in 0..50 {
            witness.is_heard(&round).await;
        }
        let served = (sum(&taken) - before) / QUANTUM as usize;
        assert!((50..=50 * 3).contains(&served), "{served} were served while 50 messages came");
        floods.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test]
    async fn those_who_never_stop_get_the_same() {
        let round = Arc::new(RoundRobin::default());
        let (floods, taken): (Vec<_>, Vec<_>) = (0..10).map(|_| flood(&round)).unzip();
        while sum(&taken) < 100 * BULK_BUDGET as usize {
            yield_now().await;
        }
        let shares = taken.iter().map(|taken| taken.load(Ordering::Relaxed) / BULK_BUDGET as usize);
        assert!(shares.clone().all(|share| (9..=11).contains(&share)), "{:?}", shares.collect::<Vec<_>>());
        floods.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test]
    async fn who_is_gone_holds_up_nobody() {
        let round = Arc::new(RoundRobin::default());
        let (floods, taken): (Vec<_>, Vec<_>) = (0..10).map(|_| flood(&round)).unzip();
        let (last, gone) = floods.split_last().unwrap();
        // while it waits, is served, or between
        for (slot, flood) in gone.iter().enumerate() {
            while sum(&taken) < slot * BULK_BUDGET as usize {
                yield_now().await;
            }
            flood.abort();
        }
        let (before, taken) = (taken[9].load(Ordering::Relaxed), &taken[9]);
        while taken.load(Ordering::Relaxed) < before + 10 * BULK_BUDGET as usize {
            yield_now().await;
        }
        last.abort();
    }

    #[tokio::test]
    async fn it_is_long_until_somebody_says_little() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let mut next = |quantum: &mut Quantum| {
            quantum.spend(quantum.left as usize);
            quantum.goes_on(&round, cx).then_some(quantum.left)
        };
        let mut large = Quantum::new();
        assert_eq!(next(&mut large), Some(BULK_BUDGET));
        // the round is taken
        assert_eq!(next(&mut Quantum::new()), None);
        large.spend(1);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        large.suspend(&round, cx);
        assert_eq!((large.left, large.slot.is_none()), (LIGHT_BYTES, true));
        let mut little = Quantum::new();
        little.spend(100);
        little.suspend(&round, cx);
        assert_eq!(next(&mut large), None, "others are to be served first");
        for number in 0..BULK_COOLDOWN {
            large.suspend(&round, cx);
            assert!(large.is_awaited() && !little.is_awaited());
            assert!(large.goes_on(&round, cx) && large.left == QUANTUM, "{number}");
            large.spend(QUANTUM as usize);
        }
        large.suspend(&round, cx);
        assert!(large.goes_on(&round, cx) && large.left == BULK_BUDGET);
    }

    #[tokio::test]
    async fn what_a_handler_costs_is_counted() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let mut quantum = Quantum::new();
        quantum.called();
        assert!(!quantum.is_over());
        charge(QUANTUM as usize);
        quantum.called();
        assert!(quantum.is_over());
        // while it is suspended, too
        let mut quantum = Quantum::new();
        charge(QUANTUM as usize);
        quantum.suspend(&round, cx);
        assert!(quantum.is_awaited());
    }

    #[tokio::test]
    async fn handlers_that_take_long_end_it() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let busy = || {
            let begun = Instant::now();
            while begun.elapsed() < 2 * BULK_TIME {}
        };
        let calls = |quantum: &mut Quantum| {
            let mut calls = 0;
            while !quantum.is_over() {
                busy();
                quantum.spend_on_frame(10);
                quantum.called();
                calls += 1;
            }
            calls
        };
        let mut quantum = Quantum::new();
        assert_eq!(calls(&mut quantum), FIRST_LOOK + SECOND_LOOK);
        for _ in 0..3 {
            quantum.suspend(&round, cx);
            assert!(quantum.is_awaited() && quantum.goes_on(&round, cx));
            assert_eq!(calls(&mut quantum), 1);
        }
        // it is quick again: its bytes end it, unless the machine took the thread away meanwhile
        let is_ended_by_bytes = |_| {
            quantum.suspend(&round, cx);
            assert!(quantum.goes_on(&round, cx));
            // one large message, so that it does not matter how fast the machine is
            quantum.spend_on_frame(BULK_BUDGET as usize);
            quantum.called();
            assert!(quantum.is_over());
            quantum.left != OVERTIME
        };
        assert!((0..1000).any(is_ended_by_bytes));
    }

    #[test]
    fn each_runtime_has_a_round_of_its_own() {
        let round = RoundRobin::default();
        let runtimes = [1, 2].map(|_| tokio::runtime::Builder::new_current_thread().build().unwrap());
        let permits = runtimes.each_ref().map(|runtime| runtime.block_on(async { round.permits() }));
        let taken = permits.each_ref().map(|permits| permits.clone().try_acquire_owned());
        assert!(taken.iter().all(Result::is_ok) && permits.iter().all(|permits| permits.available_permits() == 0));
    }

    #[test]
    fn who_pauses_in_time_never_uses_it_up() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        // small messages that came together; one of 16 KiB and its echo
        for (frames, bytes) in [(16, 60), (40, 60), (1, 32 << 10), (8, 4 << 10)] {
            let mut quantum = Quantum::new();
            for batch in 0..100 {
                (0..frames).for_each(|_| quantum.spend_on_frame(bytes));
                assert!(!quantum.is_over(), "batch {batch} of {frames} messages");
                quantum.suspend(&round, cx);
            }
        }
    }

    #[test]
    fn who_pauses_late_has_less_the_next_time() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let mut quantum = Quantum::new();
        for left in [QUANTUM / 2, QUANTUM / 4, QUANTUM / 8] {
            quantum.spend(left as usize);
            quantum.suspend(&round, cx);
            assert!(quantum.left < QUANTUM && !quantum.is_awaited());
        }
        for _ in 0..20 {
            quantum.suspend(&round, cx);
        }
        assert_eq!(quantum.left, QUANTUM);
        quantum.spend(usize::MAX);
        assert!(quantum.is_over() && quantum.most() == LIGHT_BYTES as usize);
    }
}
