//! This node of a cluster: what it sends to the others.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authentication::Key;
use super::backplane::{Backplane, BackplaneLink, HistoryEntry, Keep, NodeId, Subject};
use super::envelope::{Entry, Publish, encode};
use super::health::{ClusterHealth, Counters};
use super::interest::{InterestSet, Local, room_bucket, user_bucket};
use super::lag::Lag;
use super::outbox::{NotAccepted, Outbox};
use super::peers::Peers;
use super::requests::Requests;
use super::settings::{Cluster, WhileDown};
use super::sink::Sink;
use super::target::{Operation, Scope, Target};
use crate::error::{Error, Kind};
use crate::observe::log_rate::Burst;

/// Histories that are read at a time.
const RECOVERIES: usize = 8;

/// This node. Its tasks hold it as well; they end when its `Membership` is dropped.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    pub(super) engine: Arc<dyn Backplane>,
    pub(super) key: Option<Key>,
    pub(super) while_down: WhileDown,
    pub(super) request_timeout: Duration,
    /// How much of each room's messages the engine keeps; `None` if nothing is kept.
    pub(super) keep: Option<Keep>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) outbox: Mutex<Outbox>,
    /// The outbox has something.
    pub(super) filled: Notify,
    pub(super) peers: Mutex<Peers>,
    /// Whether another node may need messages of a bucket, readable without a lock.
    wanted: Box<[AtomicBool]>,
    pub(super) local: Mutex<LocalInterest>,
    /// The buckets in use have changed.
    pub(super) changed: Notify,
    /// Changes whenever the others know more of this node's buckets, or the link changes.
    pub(super) known: watch::Sender<u64>,
    /// Entries that were published to several subjects.
    copies: AtomicU64,
    pub(super) requests: Requests,
    /// Turns of those who read histories.
    pub(super) recoveries: Semaphore,
    pub(super) link: Mutex<LinkState>,
    pub(super) counters: Counters,
    /// Nodes that are lost: who can publish can make up any.
    pub(super) lost_log: Burst,
    /// State of the generator for pauses.
    random: AtomicU64,
    /// Milliseconds from `base` to the time when this node last received its own sign of life.
    pub(super) echo: AtomicU64,
    pub(super) lag: Lag,
    pub(super) base: Instant,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The buckets in which this node has sessions.
#[derive(Debug, Default)]
pub(super) struct LocalInterest {
    pub(super) counts: Local,
    /// The engine has confirmed the subscription.
    pub(super) subscribed: InterestSet,
    /// The subscribed buckets that this node's beats name.
    pub(super) announced: InterestSet,
    /// Every live node knows that they are announced.
    pub(super) known: InterestSet,
    /// The buckets of which numbers and presence of other nodes are kept: those that are subscribed, or were when the link
    /// was lost.
    pub(super) kept: InterestSet,
    /// Beats that were made: a later one has a later state of `subscribed`.
    pub(super) beats: u64,
}

impl LocalInterest {
    /// A new link has these subscriptions. Returns the buckets that the one before had besides.
    pub(super) fn reconnected(&mut self, subscribed: InterestSet) -> InterestSet {
        self.disconnected();
        (self.subscribed, self.announced) = (subscribed, subscribed);
        std::mem::replace(&mut self.kept, subscribed).without(&subscribed)
    }

    /// There is no link any more.
    pub(super) fn disconnected(&mut self) {
        (self.subscribed, self.announced, self.known) = Default::default();
    }

    /// These buckets are subscribed as well.
    pub(super) fn add(&mut self, buckets: &InterestSet) {
        for set in [&mut self.subscribed, &mut self.announced, &mut self.kept] {
            *set = set.and(buckets);
        }
    }

    /// Announces those of these buckets no more that have no sessions; returns them.
    pub(super) fn withdraw(&mut self, buckets: InterestSet) -> InterestSet {
        let unused = buckets.without(&self.counts.set());
        self.announced = self.announced.without(&unused);
        self.known = self.known.without(&unused);
        unused
    }

    /// Those of these buckets are not subscribed any more that are neither announced nor have sessions; returns them.
    pub(super) fn remove(&mut self, buckets: InterestSet) -> InterestSet {
        let ended = buckets.without(&self.announced).without(&self.counts.set());
        self.subscribed = self.subscribed.without(&ended);
        ended
    }
}

/// The link to the engine.
#[derive(Default)]
pub(super) struct LinkState {
    pub(super) link: Option<Arc<dyn BackplaneLink>>,
    /// When it was opened or lost.
    pub(super) since: Option<Instant>,
    pub(super) last_error: Option<Arc<str>>,
}

/// What became of a message for other nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Published {
    /// No other node has sessions for it.
    #[default]
    NotNeeded,
    /// It is on its way, with these numbers.
    Queued(Vec<(Subject, u64)>),
    /// It was refused.
    Refused(NotAccepted),
}

impl Node {
    pub(super) fn new(cluster: Cluster, keep: Option<Keep>, sink: Arc<dyn Sink>) -> Self {
        let Cluster { engine, node, key, while_down, queue_bytes, request_timeout, seed, has_empty_key: _ } = cluster;
        let random = AtomicU64::new(seed.unwrap_or_else(rand::random));
        let id = NodeId::from_bits(next_random(&random));
        let outbox = Outbox::new(id, key.clone(), engine.max_packet(), queue_bytes);
        Self {
            id,
            name: node.unwrap_or_else(|| id.to_string()[..8].into()),
            engine,
            key,
            while_down,
            request_timeout,
            keep,
            sink,
            outbox: Mutex::new(outbox),
            filled: Notify::new(),
            peers: Mutex::default(),
            wanted: (0..2 * super::interest::BUCKETS).map(|_| AtomicBool::new(true)).collect(),
            local: Mutex::default(),
            changed: Notify::new(),
            known: watch::Sender::new(0),
            copies: AtomicU64::new(0),
            requests: Requests::default(),
            recoveries: Semaphore::new(RECOVERIES),
            link: Mutex::default(),
            counters: Counters::default(),
            lost_log: Burst::default(),
            random,
            echo: AtomicU64::new(0),
            lag: Lag::default(),
            base: Instant::now(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Runs a task as long as the node is in the cluster: one that leaves waits for nobody's answer.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    /// Accepts messages while there is no link, if they are to wait for one.
    pub(super) fn open_outbox_while_down(&self) {
        self.outbox().is_open = matches!(self.while_down, WhileDown::QueueFor(_));
    }

    /// A number from 0 to 1.
    pub(super) fn random_fraction(&self) -> f64 {
        // 32 bits fit into the fraction of an `f64`
        f64::from((next_random(&self.random) >> 32) as u32) / f64::from(u32::MAX)
    }

    // --- sending ---

    /// Whether a message to these sessions must be published, as other nodes may have some. If not, its number is used
    /// up, so that a node which should have had it notices.
    pub(crate) fn is_wanted(&self, scope: &Scope) -> bool {
        let is_wanted = match scope {
            Scope::Everyone | Scope::Session(_) => self.is_accompanied(),
            Scope::User(name) => self.is_bucket_wanted(user_bucket(name)),
            // a node that is away may fetch it later
            Scope::Rooms(_) if self.keep.is_some() => true,
            Scope::Rooms(names) => names.iter().any(|name| self.is_bucket_wanted(room_bucket(name))),
        };
        if !is_wanted {
            Counters::add(&self.counters.not_needed, 1);
            self.skip(scope);
        }
        is_wanted
    }

    /// Uses up a number in each subject of a message that is not published.
    fn skip(&self, scope: &Scope) {
        let mut outbox = self.outbox();
        match scope {
            Scope::Everyone | Scope::Session(_) => outbox.skip(Subject::Nodes),
            Scope::User(name) => outbox.skip(Subject::Bucket(user_bucket(name))),
            // a number too many does no harm
            Scope::Rooms(names) => names.iter().for_each(|name| outbox.skip(Subject::Bucket(room_bucket(name)))),
        }
    }

    fn is_bucket_wanted(&self, bucket: u16) -> bool {
        self.wanted.get(usize::from(bucket)).is_none_or(|wanted| wanted.load(Ordering::Acquire))
    }

    /// Whether there are other nodes, as far as known.
    fn is_accompanied(&self) -> bool {
        !self.is_settled() || self.peers().alive_peers().next().is_some()
    }

    /// Whether all live nodes have introduced themselves.
    pub(super) fn is_settled(&self) -> bool {
        let link = self.link();
        link.link.is_some() && link.since.is_some_and(|since| since.elapsed() >= crate::config::CLUSTER_SETTLING)
    }

    /// Stores in which buckets other nodes have sessions.
    pub(super) fn note_wanted(&self) {
        let everything = !self.is_settled();
        let interest = self.peers().interest();
        for (bucket, wanted) in (0..).zip(&self.wanted) {
            wanted.store(everything || interest.contains(bucket), Ordering::Release);
        }
    }

    /// The subprotocols that endpoints of the nodes support: all mount the same.
    pub(crate) fn subprotocols(&self) -> Vec<String> {
        self.sink.subprotocols()
    }

    /// Publishes a message to the other nodes.
    pub(crate) fn publish(&self, mut publish: Publish) -> Published {
        let (subjects, rooms) = (publish.target.subjects(), publish.target.scope.clone());
        publish.copy = self.copy_number(&subjects);
        self.send(&subjects, encode(&Entry::Publish { seq: 0, publish }), &rooms)
    }

    /// Publishes an operation to the other nodes.
    pub(crate) fn operate(&self, target: Target, operation: Operation) -> Published {
        let subjects = target.subjects();
        let copy = self.copy_number(&subjects);
        self.send(&subjects, encode(&Entry::Operate { seq: 0, target, operation, copy }), &Scope::Everyone)
    }

    /// A number for the copies of an entry; zero if it has one subject, and so one copy.
    fn copy_number(&self, subjects: &[Subject]) -> u64 {
        if subjects.len() > 1 { self.copies.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 }
    }

    /// Publishes changes of this node's presence in a bucket. If that is not possible, the others notice that a number is
    /// missing, and ask for the whole presence.
    pub(crate) fn change_presence(&self, bucket: u16, changes: Bytes) {
        let subject = Subject::Bucket(bucket);
        let is_published = self.is_bucket_wanted(bucket)
            && self
                .outbox()
                .message(subject, &mut encode(&Entry::Presence { seq: 0, changes }), |_| Vec::new())
                .is_ok();
        if is_published {
            self.filled.notify_one();
        } else {
            self.outbox().skip(subject);
        }
    }

    fn send(&self, subjects: &[Subject], mut entry: Vec<u8>, scope: &Scope) -> Published {
        let mut tickets = Vec::with_capacity(subjects.len());
        let mut refused = None;
        {
            let mut outbox = self.outbox();
            for subject in subjects {
                let history = |entry: &[u8]| self.history_of(scope, *subject, entry);
                match outbox.message(*subject, &mut entry, history) {
                    Ok(seq) => tickets.push((*subject, seq)),
                    Err(reason) => refused = Some(reason),
                }
            }
        }
        if !tickets.is_empty() {
            self.filled.notify_one();
        }
        match refused {
            Some(reason) => {
                Counters::add(&self.counters.refused, 1);
                Published::Refused(reason)
            }
            None => Published::Queued(tickets),
        }
    }

    /// The entries for the histories of the rooms in this subject.
    fn history_of(&self, scope: &Scope, subject: Subject, entry: &[u8]) -> Vec<HistoryEntry> {
        let (Some(keep), Scope::Rooms(names)) = (self.keep, scope) else { return Vec::new() };
        let mut packet = None;
        let names = names.iter().filter(|name| Subject::Bucket(room_bucket(name)) == subject);
        names
            .map(|name| {
                let entry = packet.get_or_insert_with(|| Outbox::single(self.id, self.key.as_ref(), subject, entry));
                HistoryEntry { key: name.as_str().into(), keep, entry: entry.clone() }
            })
            .collect()
    }

    pub(super) fn send_control(&self, subject: Subject, entry: &Entry) {
        // beats, marks and requests always fit; answers are divided
        let _ = self.outbox().control(subject, &encode(entry));
        self.filled.notify_one();
    }

    // --- rooms and users of this node ---

    /// A room has its first session here.
    pub(crate) fn add_room(&self, name: &str) {
        self.add_bucket(room_bucket(name));
    }

    /// A room has no session here any more.
    pub(crate) fn remove_room(&self, name: &str) {
        self.local().counts.remove(room_bucket(name));
    }

    /// A user has the first session here.
    pub(crate) fn add_user(&self, name: &str) {
        self.add_bucket(user_bucket(name));
    }

    /// A user has no session here any more.
    pub(crate) fn remove_user(&self, name: &str) {
        self.local().counts.remove(user_bucket(name));
    }

    fn add_bucket(&self, bucket: u16) {
        let mut local = self.local();
        if local.counts.add(bucket) && !local.announced.contains(bucket) {
            drop(local);
            self.changed.notify_one();
        }
    }

    /// Resolves when every live node knows that this one has sessions in the room's bucket.
    ///
    /// # Errors
    /// That took too long, such as while the engine cannot be reached.
    pub(crate) async fn room_known(&self, name: &str) -> Result<(), Error> {
        let bucket = room_bucket(name);
        let mut changes = self.known.subscribe();
        let known = async {
            while !self.local().known.contains(bucket) {
                // the sender is a field of this node
                let _ = changes.changed().await;
            }
        };
        timeout(self.request_timeout, known).await.map_err(|_| {
            let text =
                format!("not every node knows yet that this one has sessions in the room {name:?}: {}", self.why());
            Error::new(Kind::Cluster, text)
        })
    }

    /// Why others do not answer.
    fn why(&self) -> String {
        let link = self.link();
        match (&link.link, &link.last_error) {
            (None, Some(error)) => format!("{} cannot be reached: {error}", self.engine.name()),
            (None, None) => format!("{} is not connected yet", self.engine.name()),
            (Some(_), _) => "a node does not answer".to_owned(),
        }
    }

    /// The error of a message that was refused.
    pub(crate) fn refusal(&self, reason: NotAccepted) -> Error {
        let text = match reason {
            NotAccepted::Down => format!("the message did not reach other nodes: {}", self.why()),
            NotAccepted::Full => {
                format!("the message did not reach other nodes: {} is behind (queue_bytes)", self.engine.name())
            }
            NotAccepted::TooBig => {
                let (engine, most) = (self.engine.name(), self.engine.max_packet());
                format!("the message did not reach other nodes: {engine} takes at most {most} bytes")
            }
        };
        Error::new(Kind::Cluster, text)
    }

    // --- state ---

    pub(crate) fn health(&self) -> ClusterHealth {
        let (is_connected, last_error) = {
            let link = self.link();
            (link.link.is_some(), link.last_error.clone())
        };
        let mut peers: Vec<_> = self.peers().alive_peers().map(|(id, peer)| (id, peer.name.clone())).collect();
        peers.sort_unstable();
        ClusterHealth {
            node: self.name.clone(),
            id: self.id,
            engine: self.engine.name(),
            is_connected,
            last_error,
            lag: is_connected.then(|| self.lag.now(self.base.elapsed())).flatten(),
            peers,
            counts: self.counters.now(),
        }
    }

    /// Whether the other nodes know all that this one has told them; true while they cannot be reached.
    #[cfg(feature = "test")]
    pub(crate) fn is_known(&self) -> bool {
        let local = self.local();
        let is_known = local.counts.set().without(&local.known) == InterestSet::default();
        drop(local);
        is_known || self.link().link.is_none()
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, Peers> {
        lock(&self.peers)
    }

    pub(super) fn local(&self) -> MutexGuard<'_, LocalInterest> {
        lock(&self.local)
    }

    pub(super) fn link(&self) -> MutexGuard<'_, LinkState> {
        lock(&self.link)
    }
}

/// SplitMix64: nothing here must be unpredictable, only different on each node.
fn next_random(state: &AtomicU64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let next = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    let mixed = (next ^ next >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The answer to a mark: to how many sessions the message was delivered.
pub(super) fn sessions_answer(sessions: Option<u32>) -> Bytes {
    sessions.map_or_else(Bytes::new, |sessions| Bytes::copy_from_slice(&sessions.to_be_bytes()))
}

pub(super) fn read_sessions(body: &Bytes) -> Option<usize> {
    let count = u32::from_be_bytes(body.as_ref().try_into().ok()?);
    usize::try_from(count).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
