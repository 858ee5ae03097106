//! How much input of one peer is handled before others are served: a quantum, as in deficit round robin. It is bounded
//! in bytes and in time, because the size of a message does not determine the cost of its handler.
//!
//! A peer that pauses within its quantum is served whenever input arrives. A peer that exceeds its quantum joins the
//! endpoint's round, which serves as many peers at a time as the runtime has threads. After each of them the runtime
//! polls its sockets, and serves all other peers first. So a light peer waits for one quantum of the peers that never
//! stop, and not for one quantum of each.

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

/// Size of a quantum, in bytes read, written or made: some ten microseconds of work.
const QUANTUM: isize = 64 << 10;

/// Cost of a frame beside its bytes: to decode and dispatch it takes about as much work as to read and write one
/// kilobyte.
const FRAME: usize = 1 << 10;

/// Quantum in the round while no light peer is active: a message of a megabyte, and a reply as large. Interleaving many
/// such messages costs more than finishing one that is in the caches.
const BULK_BUDGET: isize = 2 << 20;

/// How long handlers may run in a quantum, and in a long one: a byte count does not measure the time of a handler.
const TIME: Duration = Duration::from_micros(200);
const BULK_TIME: Duration = Duration::from_millis(1);

/// The clock is read after this many handler calls, then after [`SECOND_LOOK`] more, and then after every
/// [`LOOK_EVERY`]: for a peer that waits for each reply it is never read.
const FIRST_LOOK: u32 = 2;
const SECOND_LOOK: u32 = 4;
const LOOK_EVERY: u32 = 16;

/// Marks a quantum whose time is used up: this or less is left of it. A frame that is counted afterwards does not overflow.
const OVERTIME: isize = isize::MIN / 2;

/// A peer that uses fewer bytes than this before it pauses is light.
const LIGHT_BYTES: isize = 16 << 10;

/// After a light peer pauses, this many quanta in the round are not long.
const BULK_COOLDOWN: u32 = 64;

thread_local! {
    /// Number of pauses of light peers on this thread.
    static PAUSES: Cell<u32> = const { Cell::new(0) };
    /// The value of `PAUSES` when a quantum in a round last began on this thread, and how many more must not be long.
    static LAST_PAUSES: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    /// Cost in bytes of the handler that runs on this thread, beside its message.
    static CHARGED: Cell<usize> = const { Cell::new(0) };
    /// Handler calls left until the clock is read: a single countdown, because each message pays for it.
    static UNTIL_LOOK: Cell<u32> = const { Cell::new(FIRST_LOOK) };
    /// The first clock reading since a connection's task was resumed on this thread.
    static RESUMED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Charges the running handler for work that costs as much as this many bytes.
pub(crate) fn charge(bytes: usize) {
    CHARGED.set(CHARGED.get().saturating_add(bytes));
    // the end of the call checks both the clock and the charge
    UNTIL_LOOK.set(1);
}

/// The peers of an endpoint that do not pause, served in turn on each runtime. A peer with a permit is served.
#[derive(Debug, Default)]
pub(crate) struct RoundRobin(PerRuntime<Semaphore>);

impl RoundRobin {
    /// One permit for each thread of the runtime.
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

/// The rest of a peer's quantum.
pub(crate) struct Quantum {
    left: isize,
    /// `Some` from the end of the quantum until the peer pauses.
    slot: Option<Box<Slot>>,
}

/// A slot in a round.
struct Slot {
    state: State,
    /// Kept while the state is not `Queued`.
    permit: Option<OwnedSemaphorePermit>,
    next: PollSemaphore,
    /// The handlers used up the time of a quantum: the clock is read after each call.
    slow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// This peer is served.
    Running,
    /// This peer was served: all other peers come now, then the next one in the round.
    Yielding,
    /// This peer waits for a permit.
    Queued,
}

impl Quantum {
    pub(crate) fn new() -> Self {
        Self { left: QUANTUM, slot: None }
    }

    /// Counts bytes that were read, written or made.
    #[inline]
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub_unsigned(bytes).max(OVERTIME);
    }

    /// Counts a decoded frame, and the bytes that it was turned into.
    #[inline]
    pub(crate) fn spend_on_frame(&mut self, bytes: usize) {
        // without a check for overflow, because each message pays for it: a frame and its output lie in memory
        self.left -= (FRAME + bytes) as isize;
    }

    /// Counts a handler call that has returned or is suspended.
    #[inline]
    pub(crate) fn called(&mut self) {
        let left = UNTIL_LOOK.get() - 1;
        UNTIL_LOOK.set(left);
        if left == 0 {
            self.look();
        }
    }

    /// Spends the handler's charge, and ends the quantum if its time is used up.
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

    /// Whether others are served before this peer continues.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.left <= 0
    }

    /// Whether the task was suspended since the quantum was over: then its gathered output must wait, too.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.state != State::Running)
    }

    /// The maximum number of bytes to read or write at once.
    #[inline]
    pub(crate) fn most(&self) -> usize {
        self.left.max(LIGHT_BYTES) as usize
    }

    /// Whether the quantum goes on, or the next one begins. If not, [suspend](Self::suspend) the task; it is woken for
    /// the next quantum.
    #[inline]
    pub(crate) fn goes_on(&mut self, round: &RoundRobin, cx: &mut Context<'_>) -> bool {
        !self.is_over() || self.begins(round, cx)
    }

    #[cold]
    fn begins(&mut self, round: &RoundRobin, cx: &mut Context<'_>) -> bool {
        let begins = match &mut self.slot {
            // the quantum is over, and the task is not suspended yet
            Some(slot) if slot.state == State::Running => false,
            Some(slot) => slot.poll_next(cx).is_ready(),
            None => {
                // no other peer comes first: the next quantum may begin at once
                let permit = if is_quiet() { round.permits().try_acquire_owned().ok() } else { None };
                self.slot = permit.map(|permit| round.slot(State::Running, Some(permit)));
                self.slot.is_some()
            }
        };
        if begins {
            let slow = self.left <= OVERTIME;
            self.slot.iter_mut().for_each(|slot| slot.slow = slow);
            UNTIL_LOOK.set(if slow { 1 } else { FIRST_LOOK });
            RESUMED.set(slow.then(Instant::now));
            self.left = length();
        }
        begins
    }

    /// Notes that the task is about to suspend, because the peer has paused or the quantum is over. In the second case
    /// the task is woken for its next quantum.
    #[inline]
    pub(crate) fn suspend(&mut self, round: &RoundRobin, cx: &mut Context<'_>) {
        if UNTIL_LOOK.get() != FIRST_LOOK {
            self.end_turn();
        }
        if self.is_over() {
            self.end(round, cx);
        } else if self.slot.take().is_some() {
            // the peer may have to rejoin the round soon
            self.left = LIGHT_BYTES;
        } else {
            if (QUANTUM - LIGHT_BYTES..QUANTUM).contains(&self.left) {
                PAUSES.set(PAUSES.get().wrapping_add(1));
            }
            // a peer that takes three quarters of a quantum between two pauses never uses one up
            self.left = QUANTUM - (QUANTUM - self.left) / 4;
        }
    }

    /// Spends the charge of a suspended handler, and resets the time of this turn.
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
            // the runtime polls its sockets before it wakes a task that yields
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

/// Whether no light peer was active on this thread recently.
fn is_quiet() -> bool {
    LAST_PAUSES.get() == (PAUSES.get(), 0)
}

/// Length in bytes of a quantum in a round that begins now on this thread.
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

    /// A peer that never pauses, and the number of bytes taken from it.
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

    /// A peer that sends a byte, and waits until it arrives through its socket.
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
            // without a yield, the runtime would not poll the socket again
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
    async fn light_peer_waits_for_at_most_one_bulk_peer() {
        let round = Arc::new(RoundRobin::default());
        let mut witness = Witness::new().await;
        witness.is_heard(&round).await;
        let (floods, taken): (Vec<_>, Vec<_>) = (0..100).map(|_| flood(&round)).unzip();
        // the first quantum of each is not in the round
        witness.is_heard(&round).await;
        let before = sum(&taken);
        for _ in 0..50 {
            witness.is_heard(&round).await;
        }
        let served = (sum(&taken) - before) / QUANTUM as usize;
        assert!((50..=50 * 3).contains(&served), "{served} turns while 50 messages arrived");
        floods.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test]
    async fn bulk_peers_get_equal_shares() {
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
    async fn dropped_peer_blocks_no_other() {
        let round = Arc::new(RoundRobin::default());
        let (floods, taken): (Vec<_>, Vec<_>) = (0..10).map(|_| flood(&round)).unzip();
        let (last, gone) = floods.split_last().unwrap();
        // while a peer waits, is served, or between
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
    async fn budget_is_large_until_a_light_peer_arrives() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let mut next = |quantum: &mut Quantum| {
            quantum.spend(quantum.left as usize);
            quantum.goes_on(&round, cx).then_some(quantum.left)
        };
        let mut large = Quantum::new();
        assert_eq!(next(&mut large), Some(BULK_BUDGET));
        // the only permit of the round is taken
        assert_eq!(next(&mut Quantum::new()), None);
        large.spend(1);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        large.suspend(&round, cx);
        assert_eq!((large.left, large.slot.is_none()), (LIGHT_BYTES, true));
        let mut little = Quantum::new();
        little.spend(100);
        little.suspend(&round, cx);
        assert_eq!(next(&mut large), None, "other connections run first");
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
    async fn handler_time_is_counted() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let mut quantum = Quantum::new();
        quantum.called();
        assert!(!quantum.is_over());
        charge(QUANTUM as usize);
        quantum.called();
        assert!(quantum.is_over());
        // the charge of a suspended handler counts, too
        let mut quantum = Quantum::new();
        charge(QUANTUM as usize);
        quantum.suspend(&round, cx);
        assert!(quantum.is_awaited());
    }

    #[tokio::test]
    async fn slow_handlers_end_the_quantum() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        let busy = || {
            let started = Instant::now();
            while started.elapsed() < 2 * BULK_TIME {}
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
        // the handler is quick again: bytes end the quantum, unless the machine preempted the thread meanwhile
        let is_ended_by_bytes = |_| {
            quantum.suspend(&round, cx);
            assert!(quantum.goes_on(&round, cx));
            // one large message, so that the machine's speed does not matter
            quantum.spend_on_frame(BULK_BUDGET as usize);
            quantum.called();
            assert!(quantum.is_over());
            quantum.left > OVERTIME
        };
        assert!((0..1000).any(is_ended_by_bytes));
    }

    #[test]
    fn each_runtime_has_its_own_round() {
        let round = RoundRobin::default();
        let runtimes = [1, 2].map(|_| tokio::runtime::Builder::new_current_thread().build().unwrap());
        let permits = runtimes.each_ref().map(|runtime| runtime.block_on(async { round.permits() }));
        let taken = permits.each_ref().map(|permits| permits.clone().try_acquire_owned());
        assert!(taken.iter().all(Result::is_ok) && permits.iter().all(|permits| permits.available_permits() == 0));
    }

    #[test]
    fn early_pause_never_exhausts_the_budget() {
        let (round, cx) = (RoundRobin::default(), &mut Context::from_waker(std::task::Waker::noop()));
        // small messages that arrive together; one of 16 KiB and its echo
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
    fn late_pause_shortens_the_next_turn() {
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
