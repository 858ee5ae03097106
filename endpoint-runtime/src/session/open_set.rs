//! The sessions of one mounted endpoint: who is in, until its socket is done with; whom a shutdown or a deadline wakes.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::{Groups, NOWHERE, Session};
use crate::close::CloseReason;
use crate::config::Limits;
use crate::deadlines::{Deadlines, Sweep};
use crate::outbound::Bounds;
use crate::quantum::Round;
use crate::state::States;

/// The sessions of one mounted endpoint.
#[derive(Debug)]
pub(crate) struct OpenSet {
    pub(crate) path: Box<str>,
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    /// Before all moments of its sessions.
    pub(crate) base: Instant,
    pub(super) bounds: Arc<Bounds>,
    pub(super) states: Arc<States>,
    pub(super) groups: Arc<Groups>,
    /// For which kinds of messages there is an annotated handler.
    pub(super) annotated: [bool; 3],
    /// What it is mounted in; the front door knows the type.
    container: OnceLock<Weak<dyn Any + Send + Sync>>,
    members: Mutex<Members>,
    pub(crate) round: Round,
}

#[derive(Debug)]
struct Members {
    /// Every session with a connection, open or about to end.
    list: Vec<Session>,
    /// When each of them is to look at its limits.
    deadlines: Deadlines,
    /// The list as it was handed out last, until it changes.
    snapshot: Option<Arc<[Session]>>,
    /// Why no session may stay open any more.
    closing: Option<CloseReason>,
}

impl OpenSet {
    pub(crate) fn new(path: impl Into<Box<str>>, name: &'static str, limits: Limits) -> Self {
        let bounds = Bounds {
            messages: limits.send_queue_messages,
            bytes: limits.send_queue_bytes,
            send_timeout: limits.send_timeout,
            overflow: limits.overflow,
        };
        let (path, bounds) = (path.into(), Arc::new(bounds));
        let base = Instant::now();
        let deadlines = Deadlines::since(base);
        let members = Mutex::new(Members { list: Vec::new(), deadlines, snapshot: None, closing: None });
        let (states, groups, annotated, container, round) = <_>::default();
        Self { path, name, limits, base, bounds, states, groups, annotated, container, members, round }
    }

    /// With what all endpoints of a container share: what the application provides, and the groups of sessions.
    pub(crate) fn with(mut self, states: Arc<States>, groups: Arc<Groups>) -> Self {
        (self.states, self.groups) = (states, groups);
        self
    }

    /// Whose text, binary data and pongs go to annotated handlers.
    pub(crate) fn annotated(mut self, annotated: [bool; 3]) -> Self {
        self.annotated = annotated;
        self
    }

    /// Says what it is mounted in, once.
    pub(crate) fn belongs_to(&self, container: Weak<dyn Any + Send + Sync>) {
        let _ = self.container.set(container);
    }

    pub(crate) fn container(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.container.get()?.upgrade()
    }

    /// A session that comes after the shutdown began is told so at once.
    fn add(&self, session: &Session) {
        let mut members = self.lock();
        session.set_place(members.list.len());
        members.list.push(session.clone());
        members.deadlines.push();
        members.snapshot = None;
        if let Some(reason) = &members.closing {
            session.outbound().close(reason.clone());
        }
        drop(members);
        session.enter_as_principal();
    }

    /// It is no longer open, though its connection has not come to its end.
    pub(crate) fn hide(&self) {
        self.lock().snapshot = None;
    }

    /// Its connection is gone. Harmless if it is not in.
    fn remove(&self, session: &Session) {
        let mut members = self.lock();
        let place = session.0.place.swap(NOWHERE, Ordering::Relaxed) as usize;
        if place < members.list.len() {
            members.list.swap_remove(place);
            members.deadlines.swap_remove(place);
            if let Some(moved) = members.list.get(place) {
                moved.set_place(place);
            }
            members.snapshot = None;
        }
    }

    /// Makes the session look at its limits when the deadline comes, or somewhat earlier; false if it has to see to
    /// that itself.
    pub(crate) fn wake_at(&self, session: &Session, now: Instant, deadline: Instant) -> bool {
        self.lock().deadlines.set(session.0.place.load(Ordering::Relaxed) as usize, now, deadline)
    }

    /// Begins a sweep over the deadlines, which whoever asks has to see to; `None` if one goes on.
    pub(crate) fn begin_sweep(&self) -> Option<Sweep> {
        self.lock().deadlines.begin()
    }

    /// Wakes those whose deadline has come.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut members = self.lock();
        let Members { list, deadlines, .. } = &mut *members;
        let due: Vec<_> = deadlines.due(now).filter_map(|place| list.get(place).cloned()).collect();
        drop(members);
        due.iter().for_each(|session| session.outbound().wake());
    }

    /// Waits until the sweep is to end, because no session is left.
    pub(crate) fn poll_end_of(&self, sweep: Sweep, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().deadlines.poll_end(sweep, cx)
    }

    /// The sweep does not go on: every session sees to its deadlines itself.
    pub(crate) fn break_off(&self, sweep: Sweep) {
        let mut members = self.lock();
        if members.deadlines.goes_on(sweep) {
            members.deadlines.end();
            let all = members.list.clone();
            drop(members);
            all.iter().for_each(|session| session.outbound().wake());
        }
    }

    /// Closes every session, and those to come.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut members = self.lock();
        members.list.iter().for_each(|session| session.outbound().close(reason.clone()));
        members.closing = Some(reason);
    }

    /// Gives every connection up, those too that are about to end.
    pub(crate) fn cut(&self) {
        self.lock().list.iter().for_each(|session| session.outbound().cut());
    }

    /// Those that are open.
    pub(crate) fn snapshot(&self) -> Arc<[Session]> {
        let mut members = self.lock();
        if let Some(snapshot) = &members.snapshot {
            return snapshot.clone();
        }
        let snapshot: Arc<[Session]> = members.list.iter().filter(|session| session.is_open()).cloned().collect();
        members.snapshot = Some(snapshot.clone());
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn set_place(&self, place: usize) {
        // as many sessions as that have no room in any memory
        self.0.place.store(u32::try_from(place).unwrap_or(NOWHERE), Ordering::Relaxed);
    }
}

/// The place of a session among those of its endpoint, given back when it is dropped.
pub(crate) struct Place(Session);

impl Place {
    pub(crate) fn of(session: &Session) -> Self {
        Self(session.clone())
    }

    /// Enters it; a shutdown finds it from now on.
    pub(crate) fn take(&self) {
        self.0.endpoint().add(&self.0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.outbound().detach();
        self.0.leave_all();
        self.0.endpoint().remove(&self.0);
        self.0.release_for_good();
    }
}
