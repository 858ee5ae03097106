//! The sessions of one mounted endpoint: each is in the set until its socket is finished. Shutdowns and deadlines wake
//! sessions through the set.

use std::any::Any;
use std::borrow::Cow;
#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::chunks::{Chunks, Replaced, Snapshot};
use super::endpoint_info::EndpointInfo;
use super::member::{Member, NOWHERE};
use super::rooms::Groups;
use crate::config::Limits;
use crate::observe::counters::EndpointCounters;
use crate::observe::endpoint::EndpointMeasures;
use crate::observe::log_rate::EndpointLog;
use crate::observe::tally::Traffic;
use crate::observe::traffic::EndpointTraffic;
use crate::scheduling::coarse_timer::{Deadlines, Entry, Sweep, is_far};
use crate::scheduling::fairness::RoundRobin;
use crate::send_queue::Bounds;
use crate::send_queue::sync::{AtomicU32, Mutex, MutexGuard, Ordering, PoisonError};
use crate::session::shared_properties::SharedProperty;
use crate::session::state::States;
use endpoint_wire::budget::Budgets;
use endpoint_wire::close::CloseReason;

/// The sessions of one mounted endpoint.
#[derive(Debug)]
pub(crate) struct OpenSet<S> {
    pub(crate) path: Box<str>,
    pub(crate) name: &'static str,
    /// Source file and line of the endpoint's definition.
    pub(crate) defined_at: (&'static str, u32),
    pub(crate) limits: Limits,
    /// Base of the deadlines, earlier than any time of a session.
    pub(crate) base: Instant,
    pub(super) bounds: Arc<Bounds>,
    pub(super) states: Arc<States>,
    pub(super) groups: Arc<Groups<S>>,
    pub(crate) budgets: Arc<Budgets>,
    /// Whether there is an annotated handler, by kind of message.
    pub(super) annotated: [bool; 3],
    /// Properties that other nodes may ask for.
    pub(super) shared: &'static [SharedProperty],
    /// Whether there is a handler for changes of presence.
    pub(super) hears_presence: bool,
    /// The container that the endpoint is mounted in, type-erased: only the container module knows the type.
    container: OnceLock<Weak<dyn Any + Send + Sync>>,
    members: Mutex<Members<S>>,
    /// The number of the running sweep over the deadlines, or zero; readable without the lock.
    sweep: AtomicU32,
    pub(crate) round: RoundRobin,
    pub(crate) log: EndpointLog,
    pub(crate) counters: EndpointCounters,
    pub(crate) measures: EndpointMeasures,
    /// Number of times that the lock on the members was taken.
    #[cfg(test)]
    taken: AtomicUsize,
}

#[derive(Debug)]
struct Members<S> {
    /// Every session with a connection: first the open ones, then those that are ending.
    list: Chunks<S>,
    /// Number of open sessions.
    open: usize,
    /// What the sessions that are no longer in the list have exchanged.
    past: Traffic,
    /// Time when each session must check its limits.
    deadlines: Deadlines,
    /// The reason for closing all sessions, if the endpoint is closing.
    closing: Option<CloseReason>,
}

impl<S: Member> OpenSet<S> {
    pub(crate) fn new(path: impl Into<Box<str>>, name: &'static str, limits: Limits) -> Self {
        let bounds = Bounds {
            messages: limits.send_queue_messages,
            bytes: limits.send_queue_bytes,
            send_timeout: limits.send_timeout,
            overflow: limits.overflow,
            log: <_>::default(),
            budget: Arc::default(),
            traffic: None,
        };
        let (path, bounds) = (path.into(), Arc::new(bounds));
        let base = Instant::now();
        let deadlines = Deadlines::since(base);
        let (list, past) = <_>::default();
        let members = Mutex::new(Members { list, open: 0, past, deadlines, closing: None });
        let (states, groups, budgets, annotated, container, round, log, counters, measures) = <_>::default();
        Self {
            path,
            name,
            defined_at: ("", 0),
            limits,
            base,
            bounds,
            states,
            groups,
            budgets,
            annotated,
            shared: &[],
            hears_presence: false,
            container,
            members,
            sweep: AtomicU32::new(0),
            round,
            log,
            counters,
            measures,
            #[cfg(test)]
            taken: AtomicUsize::new(0),
        }
    }

    /// Sets the parts that all endpoints of a container share: the application's states, the groups of sessions, and
    /// the byte budgets.
    pub(crate) fn with(mut self, states: Arc<States>, groups: Arc<Groups<S>>, budgets: Arc<Budgets>) -> Self {
        if let Some(bounds) = Arc::get_mut(&mut self.bounds) {
            bounds.budget = budgets.send.clone();
        }
        (self.states, self.groups, self.budgets) = (states, groups, budgets);
        self
    }

    /// Sets the log of what is sent.
    pub(crate) fn logged(mut self, traffic: Option<Arc<EndpointTraffic>>) -> Self {
        if let Some(bounds) = Arc::get_mut(&mut self.bounds) {
            bounds.traffic = traffic;
        }
        self
    }

    /// Sets where the endpoint is defined: source file and line.
    pub(crate) fn defined_at(mut self, file: &'static str, line: u32) -> Self {
        self.defined_at = (file, line);
        self
    }

    /// The endpoint, as the application sees it.
    pub(crate) fn info(&self) -> EndpointInfo<'_> {
        let (file, line) = self.defined_at;
        EndpointInfo { path: Cow::Borrowed(&self.path), name: self.name, file, line }
    }

    /// Sets which of text, binary data and pongs have annotated handlers.
    pub(crate) fn annotated(mut self, annotated: [bool; 3]) -> Self {
        self.annotated = annotated;
        self
    }

    /// Sets whether there is a handler for changes of presence.
    pub(crate) fn hears_presence(mut self, hears: bool) -> Self {
        self.hears_presence = hears;
        self
    }

    /// Sets which properties other nodes may ask for.
    pub(crate) fn sharing(mut self, shared: &'static [SharedProperty]) -> Self {
        self.shared = shared;
        self
    }

    /// Sets the container that the endpoint is mounted in, once.
    pub(crate) fn belongs_to(&self, container: Weak<dyn Any + Send + Sync>) {
        let _ = self.container.set(container);
    }

    pub(crate) fn container(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.container.get()?.upgrade()
    }

    /// Adds a session. If the endpoint is already closing, the session is closed at once.
    pub(super) fn add(&self, session: &S) {
        let mut replaced = Replaced::default();
        let mut members = self.lock();
        members.add(session, &mut replaced);
        let closing = members.closing.clone();
        drop(members);
        drop(replaced);
        if let Some(reason) = closing {
            session.send_queue().close(reason);
        }
    }

    /// Marks the session as no longer open, while its connection is still ending.
    pub(super) fn invalidate_snapshot(&self, session: &S) {
        let mut replaced = Replaced::default();
        let mut members = self.lock();
        members.invalidate_snapshot(session, &mut replaced);
        drop(members);
        drop(replaced);
    }

    /// Removes a session whose connection has ended. Harmless if it is not in.
    pub(super) fn remove(&self, session: &S) {
        let mut replaced = Replaced::default();
        // final: the connection has ended
        let traffic = session.traffic();
        let mut members = self.lock();
        let removed = members.remove(session, &mut replaced);
        if removed.is_some() {
            members.past += traffic;
        }
        self.note_sweep(&members);
        drop(members);
        // outside the lock: these may be the last clones of some sessions
        drop((removed, replaced));
    }

    /// Wakes the session to check its limits at the deadline, or somewhat earlier; false if the session must do so
    /// itself. The session keeps `entry` for this: if an earlier deadline is set already, there is nothing to do, which
    /// avoids a lock that all connections of the endpoint would take for each message.
    pub(crate) fn wake_at(&self, session: &S, entry: &mut Entry, now: Instant, deadline: Instant) -> bool {
        let sweep = self.sweep.load(Ordering::Acquire);
        if sweep == 0 || !is_far(now, deadline) {
            return false;
        }
        if entry.is_in_time(sweep, self.base, now, deadline) {
            return true;
        }
        let set = self.lock().deadlines.set(session.place().load(Ordering::Relaxed) as usize, now, deadline);
        *entry = set.unwrap_or_default();
        set.is_some()
    }

    /// Begins a sweep, which the caller must run; `None` if one is running.
    pub(crate) fn begin_sweep(&self) -> Option<Sweep> {
        let mut members = self.lock();
        let started = members.deadlines.begin();
        self.note_sweep(&members);
        started
    }

    /// Publishes the number of the running sweep. Called under the lock, so that the last store is the current value.
    fn note_sweep(&self, members: &Members<S>) {
        self.sweep.store(members.deadlines.sweep().unwrap_or(0), Ordering::Release);
    }

    /// Wakes the sessions whose deadline has passed.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut members = self.lock();
        let Members { list, deadlines, .. } = &mut *members;
        let due: Vec<_> = deadlines.due(now).filter_map(|place| list.get(place).cloned()).collect();
        drop(members);
        due.iter().for_each(|session| session.send_queue().wake());
    }

    /// Waits until the sweep must end because no session is left.
    pub(crate) fn poll_end_of(&self, sweep: Sweep, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().deadlines.poll_end(sweep, cx)
    }

    /// Ends the sweep early and wakes every session, so that each watches its deadlines itself.
    pub(crate) fn break_off(&self, sweep: Sweep) {
        let mut members = self.lock();
        if members.deadlines.goes_on(sweep) {
            members.deadlines.end();
            self.note_sweep(&members);
            let all = members.list.snapshot();
            drop(members);
            all.iter().for_each(|session| session.send_queue().wake());
        }
    }

    /// Closes every session, including those added later.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut members = self.lock();
        members.closing = Some(reason.clone());
        // a session that is not in the snapshot finds the reason when it is added
        let all = members.list.snapshot();
        drop(members);
        all.iter().for_each(|session| session.send_queue().close(reason.clone()));
    }

    /// Aborts every connection, including those that are ending.
    pub(crate) fn cut(&self) {
        let all = self.lock().list.snapshot();
        all.iter().for_each(|session| session.send_queue().abort());
    }

    /// Whether a handler of one of the sessions is being polled on this thread.
    pub(crate) fn is_in_handler(&self) -> bool {
        let all = self.lock().list.snapshot();
        all.iter().any(|session| session.send_queue().is_in_own_handler())
    }

    /// The open sessions, as far as their connections know.
    pub(crate) fn snapshot(&self) -> Snapshot<S> {
        let members = self.lock();
        members.list.first(members.open)
    }

    /// Number of open sessions, as far as their connections know.
    pub(crate) fn open_count(&self) -> usize {
        self.lock().open
    }

    /// What all sessions so far have exchanged, and the number of open ones. It asks each session that still has a
    /// connection, so that connections need not add to shared counts. The sums never decrease.
    pub(crate) fn traffic(&self) -> (Traffic, usize) {
        let members = self.lock();
        // under one lock: a session is either in the list or in the sum
        let (mut sum, all, open) = (members.past, members.list.snapshot(), members.open);
        drop(members);
        all.iter().for_each(|session| sum += session.traffic());
        (sum, open)
    }

    fn lock(&self) -> MutexGuard<'_, Members<S>> {
        #[cfg(test)]
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, model_check))]
impl<S: Member> OpenSet<S> {
    /// Whether no room and no principal's group is left.
    pub(crate) fn has_no_groups(&self) -> bool {
        self.groups.rooms.is_empty() && self.groups.principals.is_empty()
    }
}

impl<S: Member> Members<S> {
    fn add(&mut self, session: &S, replaced: &mut Replaced<S>) {
        let last = self.list.len();
        set_place(session, last);
        self.list.push(session.clone(), replaced);
        self.deadlines.push();
        self.swap(self.open, last, replaced);
        self.open += 1;
    }

    fn invalidate_snapshot(&mut self, session: &S, replaced: &mut Replaced<S>) {
        let place = session.place().load(Ordering::Relaxed) as usize;
        if place < self.open {
            self.open -= 1;
            self.swap(place, self.open, replaced);
        }
    }

    fn remove(&mut self, session: &S, replaced: &mut Replaced<S>) -> Option<S> {
        self.invalidate_snapshot(session, replaced);
        let place = session.place().swap(NOWHERE, Ordering::Relaxed) as usize;
        let removed = self.list.swap_remove(place, replaced)?;
        self.deadlines.swap_remove(place);
        self.settle(place);
        Some(removed)
    }

    fn swap(&mut self, one: usize, other: usize, replaced: &mut Replaced<S>) {
        if one != other {
            self.list.swap(one, other, replaced);
            self.deadlines.swap(one, other);
            self.settle(one);
            self.settle(other);
        }
    }

    /// Updates the index that the session stores.
    fn settle(&self, place: usize) {
        if let Some(session) = self.list.get(place) {
            set_place(session, place);
        }
    }
}

fn set_place(member: &impl Member, place: usize) {
    // no memory holds more than `u32::MAX` sessions
    member.place().store(u32::try_from(place).unwrap_or(NOWHERE), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::session::OpenSet;
    #[cfg(feature = "test")]
    use crate::session::Session;
    use crate::session::tests::session_of;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum At {
        Outside,
        Open,
        Ending,
    }

    proptest! {
        #[test]
        fn snapshots_contain_open_sessions_and_each_keeps_its_deadline(
            changes in prop::collection::vec((0..100usize, 0..5u8), 0..600),
        ) {
            let set = Arc::new(OpenSet::new("/", "Endpoint", Limits::default()));
            let sessions: Vec<_> = (0..100).map(|_| session_of(&set)).collect();
            let mut at = [At::Outside; 100];
            for (which, change) in changes {
                let session = &sessions[which];
                at[which] = match (change, at[which]) {
                    // most changes add sessions, so that there are several chunks
                    (0..3, At::Outside) => {
                        set.add(session);
                        // a sweep ends with the last session, so begin another one
                        set.begin_sweep();
                        let deadline = set.base + Duration::from_secs(10 + which as u64);
                        prop_assert!(set.wake_at(session, &mut Entry::default(), set.base, deadline));
                        At::Open
                    }
                    // marking it twice has no further effect
                    (3, At::Open | At::Ending) => {
                        set.invalidate_snapshot(session);
                        At::Ending
                    }
                    (4, _) => {
                        set.remove(session);
                        At::Outside
                    }
                    (_, same) => same,
                };
                let open: Vec<_> = (0..100).filter(|which| at[*which] == At::Open).collect();
                let mut snapshot: Vec<_> = set.snapshot().iter().map(|session| session.address()).collect();
                let mut expected: Vec<_> = open.iter().map(|which| sessions[*which].address()).collect();
                snapshot.sort();
                expected.sort();
                prop_assert_eq!(snapshot, expected);
            }
            let mut members = set.lock();
            let Members { list, deadlines, .. } = &mut *members;
            for (which, session) in sessions.iter().enumerate() {
                let due: Vec<_> = deadlines.due(set.base + Duration::from_secs(10 + which as u64)).collect();
                let place = session.0.place.load(Ordering::Relaxed);
                prop_assert_eq!(place == NOWHERE, at[which] == At::Outside);
                if at[which] == At::Outside {
                    prop_assert!(due.is_empty());
                } else {
                    prop_assert_eq!(&due, &[place as usize]);
                    prop_assert!(list.get(place as usize) == Some(session));
                }
            }
        }
    }

    #[test]
    fn closing_the_set_closes_present_and_later_sessions() {
        let set = Arc::new(OpenSet::new("/", "Endpoint", Limits::default()));
        let (there, late) = (session_of(&set), session_of(&set));
        set.add(&there);
        set.close(CloseReason::truncating(endpoint_wire::close::CloseCode::GoingAway, "shutdown"));
        set.add(&late);
        assert!(!there.is_open() && !late.is_open());
        assert!(set.snapshot().iter().count() == 2, "the connections have not noticed it yet");
    }

    #[cfg(feature = "test")]
    struct Quiet;

    #[cfg(feature = "test")]
    impl crate::endpoint::programmatic::Endpoint for Quiet {
        async fn on_open(&mut self, _: &Session) -> Result<(), crate::error::Error> {
            Ok(())
        }
    }

    #[cfg(feature = "test")]
    #[tokio::test]
    async fn sends_awaited_outside_a_handler_take_no_endpoint_lock() {
        let container = crate::container::ServerContainer::builder().add_endpoint("/", || Quiet).build().unwrap();
        let server = crate::testing::TestServer::new(container);
        let mut client = server.connect("/").await;
        let session = server.container().sessions().iter().next().unwrap().clone();
        let mut sent = async |count, timeout| {
            let before = session.open_set().taken.load(Ordering::Relaxed);
            for _ in 0..count {
                session.basic_remote().timeout(timeout).send_text("news").await.unwrap();
                client.expect_text("news").await;
            }
            session.open_set().taken.load(Ordering::Relaxed) - before
        };
        // the limit is far, or near and left to the connection itself; only the sweep takes the lock, a few times
        for timeout in [Duration::from_secs(30), Duration::from_secs(1)] {
            let taken = sent(1000, timeout).await;
            assert!(taken < 50, "{taken} times, with a limit of {timeout:?}");
        }
    }
}
