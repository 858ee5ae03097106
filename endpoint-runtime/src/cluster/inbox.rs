//! The messages of one other node on their way to the sessions here: in order, each once, those that are missing fetched
//! from the history or counted. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::envelope::Work;
use super::sequence::{Delivered, Done, Order, Track};

/// Bytes of memory of a node's messages that wait for missing ones.
const MAX_HELD: usize = 4 << 20;

/// Bytes of memory of the messages of all nodes that wait for missing ones.
const MAX_HELD_IN_ALL: usize = 64 << 20;

/// Gaps in one subject that are fetched together: each message of a history is compared with each of them.
const MAX_GAPS: usize = 1024;

/// The messages of one other node.
#[derive(Debug, Default)]
pub(crate) struct PeerInbox {
    state: Mutex<State>,
    budget: Budget,
}

/// Bytes of memory of the messages of all nodes that wait. A clone counts the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Takes some of it; false if too little is left.
    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| Some(used + bytes).filter(|used| *used <= MAX_HELD_IN_ALL);
        self.0.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

#[derive(Debug, Default)]
struct State {
    tracks: HashMap<usize, Track>,
    /// Subjects in which messages wait for missing ones.
    held: HashMap<usize, Held>,
    /// Bytes of memory of all messages that wait.
    held_bytes: usize,
    /// Buckets whose presence is being fetched, with the changes that came meanwhile.
    syncing: HashMap<usize, Syncing>,
    delivered: Delivered,
    /// Requests that were done, of those which operate or have copies.
    done: Done,
    /// Entries of which a copy was taken.
    copies: Done,
}

#[derive(Debug, Default)]
struct Held {
    /// First number and count of each gap.
    missing: Vec<(u64, u64)>,
    messages: Vec<(u64, Work)>,
    bytes: usize,
}

/// Changes that wait for the presence before them.
#[derive(Debug, Default)]
struct Syncing {
    waiting: Vec<(u64, Bytes)>,
    bytes: usize,
    /// What is being fetched may be too old: fetch it again.
    again: bool,
}

/// What to do after the presence of a bucket was fetched.
#[derive(Debug, PartialEq)]
pub(crate) enum Synced {
    /// Apply these changes, with their numbers, and ask again what to do.
    Apply(Vec<(u64, Bytes)>),
    /// Fetch the presence again.
    Again,
    /// Nothing: changes are given back at once from now on.
    Done,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It can be delivered. So many before it were lost.
    Deliver { lost: u64 },
    /// It was delivered already.
    Duplicate,
    /// It waits, because messages before it are missing: begin to fetch them.
    Recover,
    /// It waits, because messages are being fetched. So many were lost as no space was left.
    Wait { lost: u64 },
}

impl PeerInbox {
    /// No messages of a node yet; what waits counts in this budget.
    pub(crate) fn new(budget: Budget) -> Self {
        Self { state: Mutex::default(), budget }
    }

    /// Takes a message. `recovers` if missing messages can be fetched.
    pub(crate) fn message(&self, at: usize, seq: u64, work: &mut Option<Work>, recovers: bool) -> Step {
        let State { tracks, held, held_bytes, .. } = &mut *self.lock();
        let order = tracks.entry(at).or_default().message(seq);
        if order == Order::Duplicate {
            return Step::Duplicate;
        }
        if let Some(held) = held.get_mut(&at) {
            let missed = if let Order::Gap { from, lost } = order { held.miss(from, lost) } else { 0 };
            let lost = held.keep(seq, work.take(), held_bytes, &self.budget);
            return Step::Wait { lost: missed.saturating_add(lost) };
        }
        match order {
            Order::Gap { from, lost } if recovers => {
                let held = held.entry(at).or_default();
                held.miss(from, lost);
                // a message that finds no space is fetched as well
                let lost = held.keep(seq, work.take(), held_bytes, &self.budget);
                held.miss(seq, lost);
                Step::Recover
            }
            Order::Gap { lost, .. } => Step::Deliver { lost },
            Order::Next | Order::Duplicate => Step::Deliver { lost: 0 },
        }
    }

    /// Takes a mark. A gap before it is fetched or lost as one before a message.
    pub(crate) fn mark(&self, at: usize, seq: u64, recovers: bool) -> Step {
        let mut state = self.lock();
        let Order::Gap { from, lost } = state.tracks.entry(at).or_default().mark(seq) else {
            return Step::Deliver { lost: 0 };
        };
        if let Some(held) = state.held.get_mut(&at) {
            return Step::Wait { lost: held.miss(from, lost) };
        }
        if recovers {
            state.held.insert(at, Held { missing: vec![(from, lost)], ..Held::default() });
            return Step::Recover;
        }
        Step::Deliver { lost }
    }

    /// The gaps of a subject whose messages are being fetched: first number and count of each.
    pub(crate) fn missing(&self, at: usize) -> Vec<(u64, u64)> {
        self.lock().held.get_mut(&at).map(|held| std::mem::take(&mut held.missing)).unwrap_or_default()
    }

    /// The messages that have waited, in order, up to the next that is missing. `None` once nothing waits: messages are
    /// delivered at once again.
    pub(crate) fn release(&self, at: usize) -> Option<Vec<(u64, Work)>> {
        let State { held: all, held_bytes, .. } = &mut *self.lock();
        let held = all.get_mut(&at)?;
        if held.messages.is_empty() && held.missing.is_empty() {
            all.remove(&at);
            return None;
        }
        let next = held.missing.first().map_or(u64::MAX, |(first, _)| *first);
        let later = held.messages.split_off(held.messages.partition_point(|(seq, _)| *seq <= next));
        let released = std::mem::replace(&mut held.messages, later);
        let bytes = released.iter().map(|(_, work)| held_size(work)).sum::<usize>();
        held.bytes -= bytes;
        *held_bytes -= bytes;
        self.budget.give_back(bytes);
        Some(released)
    }

    /// Notes to how many sessions a message was delivered.
    pub(crate) fn delivered(&self, at: usize, seq: u64, sessions: usize) {
        self.lock().delivered.add(at, seq, sessions);
    }

    /// To how many sessions a message was delivered; `None` if it is not known.
    pub(crate) fn sessions(&self, at: usize, seq: u64) -> Option<u32> {
        self.lock().delivered.sessions(at, seq)
    }

    /// Notes the copy of an entry; false if another copy was taken before.
    pub(crate) fn is_first(&self, copy: u64) -> bool {
        copy == 0 || self.lock().copies.is_new(copy)
    }

    /// Notes a request that operates or has copies; false if it was done already.
    pub(crate) fn begins(&self, request: u64) -> bool {
        self.lock().done.is_new(request)
    }

    /// Forgets the numbers of a subject that is not subscribed any more.
    pub(crate) fn reset(&self, at: usize) {
        let mut state = self.lock();
        if let Some(track) = state.tracks.get_mut(&at) {
            track.reset();
        }
        state.syncing.remove(&at);
    }

    /// Begins to fetch the presence of a bucket; false if it is being fetched, which will then be repeated.
    pub(crate) fn begin_sync(&self, at: usize) -> bool {
        match self.lock().syncing.entry(at) {
            Entry::Occupied(mut syncing) => {
                syncing.get_mut().again = true;
                false
            }
            Entry::Vacant(place) => {
                place.insert(Syncing::default());
                true
            }
        }
    }

    /// Begins another attempt. What has waited so far will be part of what is fetched.
    pub(crate) fn retry_sync(&self, at: usize) {
        if let Some(syncing) = self.lock().syncing.get_mut(&at) {
            *syncing = Syncing::default();
        }
    }

    /// What to do after the presence of a bucket was fetched.
    pub(crate) fn synced(&self, at: usize) -> Synced {
        let mut state = self.lock();
        let Some(syncing) = state.syncing.get_mut(&at) else { return Synced::Done };
        if syncing.again {
            return Synced::Again;
        }
        if syncing.waiting.is_empty() {
            state.syncing.remove(&at);
            return Synced::Done;
        }
        syncing.bytes = 0;
        Synced::Apply(std::mem::take(&mut syncing.waiting))
    }

    /// Gives up fetching the presence of a bucket.
    pub(crate) fn end_sync(&self, at: usize) {
        self.lock().syncing.remove(&at);
    }

    /// Keeps changes of presence if the bucket's presence is being fetched; otherwise gives them back.
    pub(crate) fn presence(&self, at: usize, seq: u64, changes: Bytes) -> Option<Bytes> {
        let mut state = self.lock();
        let Some(syncing) = state.syncing.get_mut(&at) else { return Some(changes) };
        syncing.bytes += changes.len();
        if syncing.bytes > MAX_HELD {
            syncing.waiting.clear();
            syncing.again = true;
        } else {
            syncing.waiting.push((seq, changes));
        }
        None
    }

    /// Bytes of messages that wait for missing ones.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held_bytes(&self) -> usize {
        let state = self.lock();
        assert_eq!(state.held.values().map(|held| held.bytes).sum::<usize>(), state.held_bytes);
        assert!(state.held_bytes <= MAX_HELD && state.held.values().all(|held| held.missing.len() <= MAX_GAPS));
        state.held_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PeerInbox {
    fn drop(&mut self) {
        self.budget.give_back(self.lock().held_bytes);
    }
}

/// Bytes of memory of a message that waits.
fn held_size(work: &Work) -> usize {
    size_of::<(u64, Work)>() + work.memory()
}

impl Held {
    /// Keeps a message if there is space; returns the number of messages lost.
    fn keep(&mut self, seq: u64, work: Option<Work>, held_bytes: &mut usize, budget: &Budget) -> u64 {
        let Some(mut work) = work else { return 0 };
        let bytes = held_size(&work);
        if *held_bytes + bytes > MAX_HELD || !budget.take(bytes) {
            return 1;
        }
        work.detach();
        self.bytes += bytes;
        *held_bytes += bytes;
        self.messages.push((seq, work));
        0
    }

    /// Notes a gap if there is space; returns the number of messages lost.
    fn miss(&mut self, from: u64, lost: u64) -> u64 {
        if lost == 0 {
            return 0;
        }
        if self.missing.len() == MAX_GAPS {
            return lost;
        }
        self.missing.push((from, lost));
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::envelope::{Form, Publish};
    use crate::cluster::target::{Scope, Target};
    use endpoint_wire::frame::OpCode;

    fn publish() -> Option<Work> {
        let target = Target::from(Scope::Everyone);
        Some(Work::Publish(Publish {
            target,
            except: vec![],
            compressed: true,
            overflow: None,
            forms: vec![],
            copy: 0,
        }))
    }

    fn add(work: Option<&mut Work>, form: Form) {
        let Some(Work::Publish(publish)) = work else { panic!("{work:?}") };
        publish.forms.push(form);
    }

    #[test]
    fn without_a_history_messages_go_on_after_a_gap() {
        let inbox = PeerInbox::default();
        assert_eq!(inbox.message(1, 5, &mut publish(), false), Step::Deliver { lost: 0 });
        assert_eq!(inbox.message(1, 8, &mut publish(), false), Step::Deliver { lost: 2 });
        assert_eq!(inbox.message(1, 8, &mut publish(), false), Step::Duplicate);
        assert_eq!(inbox.mark(1, 10, false), Step::Deliver { lost: 2 });
        assert_eq!(inbox.message(2, 1, &mut publish(), false), Step::Deliver { lost: 0 });
    }

    #[test]
    fn messages_after_a_gap_wait_until_the_missing_are_there() {
        let inbox = PeerInbox::default();
        inbox.message(1, 1, &mut publish(), true);
        assert_eq!(inbox.message(1, 4, &mut publish(), true), Step::Recover);
        assert_eq!(inbox.message(1, 5, &mut publish(), true), Step::Wait { lost: 0 });
        assert_eq!(inbox.message(1, 7, &mut publish(), true), Step::Wait { lost: 0 });
        assert_eq!(inbox.missing(1), [(2, 2), (6, 1)]);
        let numbers = |released: Option<Vec<(u64, Work)>>| {
            released.map(|messages| messages.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
        };
        assert_eq!(numbers(inbox.release(1)), Some(vec![4, 5, 7]));
        // some that came while those were delivered, and one of them too late
        assert_eq!(inbox.message(1, 8, &mut publish(), true), Step::Wait { lost: 0 });
        assert_eq!(inbox.message(1, 10, &mut publish(), true), Step::Wait { lost: 0 });
        assert_eq!(numbers(inbox.release(1)), Some(vec![8]));
        assert_eq!(numbers(inbox.release(1)), Some(vec![]));
        assert_eq!(inbox.missing(1), [(9, 1)]);
        assert_eq!(numbers(inbox.release(1)), Some(vec![10]));
        assert_eq!(numbers(inbox.release(1)), None);
        assert_eq!(inbox.message(1, 11, &mut publish(), true), Step::Deliver { lost: 0 });
        assert_eq!(inbox.held_bytes(), 0);
    }

    #[test]
    fn messages_that_wait_are_bounded_with_all_that_they_take() {
        let inbox = PeerInbox::default();
        inbox.mark(1, 1, true);
        inbox.mark(2, 1, true);
        // a message without a payload takes memory as well, and a small one must not keep its packet
        let packet = Bytes::from(vec![0; 1 << 20]);
        let mut lost = 0;
        for seq in 3..50_000 {
            let mut publish = publish();
            if seq % 2 == 0 {
                let payload = packet.slice(..1);
                let form = Form { subprotocol: None, opcode: OpCode::Binary, payload, deflated: vec![] };
                add(publish.as_mut(), form);
            }
            for at in [1, 2] {
                match inbox.message(at, seq, &mut publish.clone(), true) {
                    Step::Recover => {}
                    Step::Wait { lost: now } => lost += now,
                    step => panic!("{step:?}"),
                }
            }
        }
        assert!(lost > 1000 && (MAX_HELD - 1000..=MAX_HELD).contains(&inbox.held_bytes()), "{lost}");
        let released = [1, 2].map(|at| {
            inbox.missing(at);
            inbox.release(at).unwrap()
        });
        assert!(packet.is_unique(), "{} messages keep the packet", released[0].len());
        assert_eq!(inbox.held_bytes(), 0);
    }

    #[test]
    fn messages_of_all_nodes_that_wait_are_bounded() {
        let (budget, payload) = (Budget::default(), Bytes::from(vec![0; MAX_HELD - 1000]));
        let form = Form { subprotocol: None, opcode: OpCode::Binary, payload, deflated: vec![] };
        let fill = |inbox: &PeerInbox| {
            inbox.mark(1, 1, true);
            let mut publish = publish();
            add(publish.as_mut(), form.clone());
            assert_eq!(inbox.message(1, 3, &mut publish, true), Step::Recover);
            inbox.held_bytes() > 0
        };
        let inboxes: Vec<_> = (0..30).map(|_| PeerInbox::new(budget.clone())).collect();
        let most = MAX_HELD_IN_ALL / MAX_HELD;
        assert_eq!(inboxes.iter().filter(|inbox| fill(inbox)).count(), most);
        // one for which there was no space is fetched as well
        assert_eq!(inboxes[most].missing(1), [(2, 1), (3, 1)]);
        inboxes[0].missing(1);
        assert_eq!(inboxes[0].release(1).unwrap().len(), 1);
        drop(inboxes);
        assert_eq!(budget.0.load(Relaxed), 0);
    }

    #[test]
    fn gaps_that_are_fetched_together_are_bounded() {
        let inbox = PeerInbox::default();
        inbox.mark(1, 1, true);
        let steps: Vec<_> = (0..2000).map(|gap| inbox.message(1, 3 + 2 * gap, &mut None, true)).collect();
        assert_eq!(steps[0], Step::Recover);
        assert_eq!(steps.iter().filter(|step| **step == Step::Wait { lost: 1 }).count(), 2000 - MAX_GAPS);
        assert_eq!(inbox.missing(1).len(), MAX_GAPS);
    }

    #[test]
    fn changes_of_presence_wait_for_the_state_before_them() {
        let inbox = PeerInbox::default();
        assert_eq!(inbox.presence(1, 1, Bytes::from_static(b"a")), Some(Bytes::from_static(b"a")));
        assert!(inbox.begin_sync(1));
        assert_eq!(inbox.presence(1, 2, Bytes::from_static(b"b")), None);
        assert_eq!(inbox.synced(1), Synced::Apply(vec![(2, Bytes::from_static(b"b"))]));
        // a gap while the presence is being fetched
        assert!(!inbox.begin_sync(1));
        assert_eq!(inbox.synced(1), Synced::Again);
        inbox.retry_sync(1);
        assert_eq!(inbox.synced(1), Synced::Done);
        assert_eq!(inbox.presence(1, 3, Bytes::from_static(b"c")), Some(Bytes::from_static(b"c")));
    }
}
