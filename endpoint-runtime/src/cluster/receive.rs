//! What comes from other nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::backplane::{NodeId, Subject};
use super::envelope::{self, Beat, Entry, Rejected, Work};
use super::health::Counters;
use super::inbox::{PeerInbox, Step, Synced};
use super::node::{Node, sessions_answer};
use super::outbox::index;
use super::peers::Heard;
use super::target::{Question, Target};
use crate::config::{CLUSTER_CHECK, CLUSTER_RECOVERY};

impl Node {
    /// Takes a packet from the engine.
    pub(super) fn receive(self: &Arc<Self>, subject: Subject, packet: Bytes) {
        if envelope::sender(&packet) == Some(self.id) {
            if subject == Subject::Nodes {
                self.note_echo(Instant::now());
                self.lag.note_return(self.base.elapsed());
            }
            return;
        }
        let (sender, entries) = match envelope::read(subject, packet, self.key.as_ref()) {
            Ok(read) => read,
            Err(rejected) => return self.reject(rejected),
        };
        let (heard, inbox) = self.peers().heard(sender, Instant::now());
        let Some(inbox) = inbox else { return self.reject(Rejected::Crowded) };
        if heard == Heard::New {
            self.note_wanted();
            // it introduces itself in return
            self.send_control(Subject::Node(sender), &Entry::Beat(self.beat(true, 0)));
            self.sync_presence_with(sender);
        }
        for entry in entries {
            self.take(subject, sender, &inbox, entry);
        }
    }

    fn reject(&self, rejected: Rejected) {
        let before = self.counters.rejected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // at powers of two: whoever can publish could fill the log
        if (before + 1).is_power_of_two() {
            let reason = match rejected {
                Rejected::Malformed => "it is malformed",
                Rejected::Version => "it has another version: a node runs a release that is too old or too new",
                Rejected::Crowded => "too many other nodes are alive",
                Rejected::Unauthenticated => "its tag is missing or wrong: all nodes need the same `Cluster::key`",
            };
            tracing::warn!(node = &*self.name, reason, rejected = before + 1, "a packet of another node was dropped");
        }
    }

    fn take(self: &Arc<Self>, subject: Subject, sender: NodeId, inbox: &Arc<PeerInbox>, entry: Entry) {
        let at = index(subject);
        match entry {
            Entry::Beat(beat) => self.take_beat(sender, &beat),
            Entry::Bye => self.lose(sender, false),
            Entry::Publish { seq, publish } => self.take_work(subject, sender, inbox, seq, Work::Publish(publish)),
            Entry::Operate { seq, target, operation, copy } => {
                self.take_work(subject, sender, inbox, seq, Work::Operate { target, operation, copy });
            }
            Entry::Presence { seq, changes } => {
                if self.take_number(subject, sender, inbox, seq) {
                    if let Some(changes) = inbox.presence(at, seq, changes) {
                        self.change_presence_of(sender, changes);
                    }
                }
            }
            Entry::Mark { seq, request } => {
                let step = inbox.mark(at, seq, self.recovers(subject));
                self.note(step, subject, sender, inbox);
                if request != 0 {
                    self.answer(sender, request, &sessions_answer(inbox.sessions(at, seq)));
                }
            }
            Entry::Request { id, target, question } => {
                if !self.is_repeated(inbox, id, &target, &question) {
                    self.take_request(sender, id, &target, &question);
                }
            }
            Entry::Answer { id, last, body } => self.requests.answer(sender, id, last, &body),
        }
    }

    /// Takes the number of an entry that does not wait; false if it is a duplicate. Messages that are missing before it
    /// are fetched if they can be.
    fn take_number(self: &Arc<Self>, subject: Subject, sender: NodeId, inbox: &Arc<PeerInbox>, seq: u64) -> bool {
        let at = index(subject);
        if let Some(before) = seq.checked_sub(1) {
            self.note(inbox.mark(at, before, self.recovers(subject)), subject, sender, inbox);
        }
        let step = inbox.message(at, seq, &mut None, false);
        self.note(step, subject, sender, inbox);
        step != Step::Duplicate
    }

    fn take_beat(&self, sender: NodeId, beat: &Beat) {
        let Beat { number, name, interest, is_new, request } = beat;
        let added = self.peers().introduce(sender, *number, name, *interest);
        self.note_wanted();
        // the number from which on the other node gets everything of each bucket
        let marks: Vec<_> = {
            let outbox = self.outbox();
            let subjects = added.iter().map(Subject::Bucket);
            subjects.map(|subject| (subject, outbox.last_seq(subject))).collect()
        };
        marks.into_iter().for_each(|(subject, seq)| self.send_control(subject, &Entry::Mark { seq, request: 0 }));
        if *is_new {
            self.send_control(Subject::Node(sender), &Entry::Beat(self.beat(false, 0)));
        }
        if *request != 0 {
            self.answer(sender, *request, &Bytes::new());
        }
    }

    /// Whether it is a request to operate that was done already, or another copy of a request.
    fn is_repeated(&self, inbox: &PeerInbox, id: u64, target: &Target, question: &Question) -> bool {
        let has_copies = target.subjects().len() > 1;
        let is_repeated = (has_copies || matches!(question, Question::Operate(_))) && !inbox.begins(id);
        Counters::add(&self.counters.duplicates, u64::from(is_repeated && !has_copies));
        is_repeated
    }

    fn take_request(&self, sender: NodeId, id: u64, target: &Target, question: &Question) {
        let body = match question {
            Question::Operate(operation) => sessions_answer(u32::try_from(self.sink.operate(target, operation)).ok()),
            Question::PresenceOf(bucket) => {
                // the state and its number together: changes after it have higher numbers
                let seq = self.outbox().last_seq(Subject::Bucket(*bucket));
                let mut body = seq.to_be_bytes().to_vec();
                body.extend_from_slice(&self.sink.answer(target, question));
                body.into()
            }
            _ => self.sink.answer(target, question),
        };
        self.answer(sender, id, &body);
    }

    /// Sends an answer, in parts if it is long.
    fn answer(&self, to: NodeId, id: u64, body: &Bytes) {
        let most = (self.engine.max_packet() / 2).max(1);
        let mut rest = body.clone();
        loop {
            let part = rest.split_to(rest.len().min(most));
            let last = rest.is_empty();
            self.send_control(Subject::Node(to), &Entry::Answer { id, last, body: part });
            if last {
                return;
            }
        }
    }

    /// Takes a message or an operation, in the order of its number.
    fn take_work(self: &Arc<Self>, subject: Subject, sender: NodeId, inbox: &Arc<PeerInbox>, seq: u64, work: Work) {
        Counters::add(&self.counters.received, 1);
        let mut work = Some(work);
        let step = inbox.message(index(subject), seq, &mut work, self.recovers(subject));
        self.note(step, subject, sender, inbox);
        if let (Step::Deliver { .. }, Some(work)) = (step, work) {
            self.deliver(subject, inbox, seq, &work);
        }
    }

    fn deliver(&self, subject: Subject, inbox: &PeerInbox, seq: u64, work: &Work) {
        // what is for several rooms comes once for each of their buckets
        let sessions = match work {
            _ if !inbox.is_first(work.copy()) => 0,
            Work::Publish(publish) => self.sink.deliver(publish),
            Work::Operate { target, operation, .. } => self.sink.operate(target, operation),
        };
        inbox.delivered(index(subject), seq, sessions);
    }

    /// Whether missing messages of this subject can be fetched.
    fn recovers(&self, subject: Subject) -> bool {
        self.keep.is_some() && matches!(subject, Subject::Bucket(bucket) if bucket < super::interest::BUCKETS)
    }

    /// Counts what was lost, and fetches what can be fetched.
    fn note(self: &Arc<Self>, step: Step, subject: Subject, sender: NodeId, inbox: &Arc<PeerInbox>) {
        match step {
            Step::Deliver { lost: 0 } | Step::Wait { lost: 0 } => {}
            Step::Duplicate => Counters::add(&self.counters.duplicates, 1),
            Step::Deliver { lost } | Step::Wait { lost } => self.note_lost(lost, subject, sender, inbox),
            Step::Recover => {
                let (node, inbox) = (self.clone(), inbox.clone());
                self.spawn(async move { node.recover(subject, sender, &inbox).await });
            }
        }
    }

    /// Counts lost messages, and asks for the presence again whose changes may be among them.
    fn note_lost(self: &Arc<Self>, lost: u64, subject: Subject, sender: NodeId, inbox: &Arc<PeerInbox>) {
        self.count_lost(sender, lost);
        if let Subject::Bucket(bucket) = subject {
            self.sync_presence_from(sender, inbox, bucket);
        }
    }

    fn count_lost(&self, sender: NodeId, lost: u64) {
        let (before, total) = Counters::add_claimed(&self.counters.lost, lost);
        if before.checked_ilog2() != total.checked_ilog2() {
            tracing::warn!(node = &*self.name, from = %sender, lost, total, "messages of another node did not come");
        }
    }

    /// Fetches missing messages of a node from the histories of the rooms here, while later ones wait.
    async fn recover(self: &Arc<Self>, subject: Subject, sender: NodeId, inbox: &Arc<PeerInbox>) {
        let at = index(subject);
        loop {
            let missing = inbox.missing(at);
            if !missing.is_empty() {
                let fetched = async {
                    // a history may be long: few are read at a time. The semaphore is never closed
                    let _turn = self.recoveries.acquire().await;
                    self.fetch(subject, sender, &missing).await
                };
                let found = timeout(CLUSTER_RECOVERY, fetched).await.unwrap_or_default();
                let count = missing.iter().fold(0, |count: u64, (_, lost)| count.saturating_add(*lost));
                Counters::add(&self.counters.recovered, found.len() as u64);
                if count > found.len() as u64 {
                    self.note_lost(count - found.len() as u64, subject, sender, inbox);
                }
                found.iter().for_each(|(seq, work)| self.deliver(subject, inbox, *seq, work));
            }
            let Some(waiting) = inbox.release(at) else { return };
            waiting.iter().for_each(|(seq, work)| self.deliver(subject, inbox, *seq, work));
        }
    }

    /// The messages with these numbers, as far as histories have them.
    async fn fetch(&self, subject: Subject, sender: NodeId, missing: &[(u64, u64)]) -> BTreeMap<u64, Work> {
        let mut found = BTreeMap::new();
        let (Some(keep), Subject::Bucket(bucket)) = (self.keep, subject) else { return found };
        let Some(link) = self.link().link.clone() else { return found };
        for room in self.sink.rooms_in(bucket) {
            let Ok(entries) = link.history(&room, keep).await else { continue };
            for entry in entries {
                let Ok((from, kept)) = envelope::read(subject, entry, self.key.as_ref()) else { continue };
                for entry in kept {
                    let Entry::Publish { seq, publish } = entry else { continue };
                    // the number after a gap may not exist
                    let is_in = |(first, count): &(u64, u64)| seq.checked_sub(*first).is_some_and(|at| at < *count);
                    let is_missing = missing.iter().any(is_in);
                    if from == sender && is_missing {
                        found.insert(seq, Work::Publish(publish));
                    }
                }
            }
        }
        found
    }

    /// Takes another node for dead, or for ended, as it said.
    pub(super) fn lose(&self, node: NodeId, has_died: bool) {
        let was_alive = if has_died { self.peers().lose(node) } else { self.peers().end(node, Instant::now()) };
        if !was_alive {
            return;
        }
        if has_died {
            Counters::add(&self.counters.deaths, 1);
        }
        if let Some(not_logged) = self.lost_log.due() {
            tracing::info!(
                node = &*self.name,
                lost = %node,
                has_died,
                not_logged,
                "a node is not in the cluster any more"
            );
        }
        self.requests.lost(node);
        self.note_wanted();
        self.sink.lost(node, has_died);
    }

    // --- presence ---

    /// Changes the presence of another node. One that has ended has none: its last changes may come after its end.
    fn change_presence_of(&self, node: NodeId, changes: Bytes) {
        let is_alive = || self.peers().is_alive(node);
        if is_alive() {
            self.sink.presence_changed(node, changes);
            if !is_alive() {
                // it ended meanwhile
                self.sink.lost(node, false);
            }
        }
    }

    /// Fetches the presence of all nodes in all buckets of this node, after a new link.
    pub(super) fn sync_presence_of_all(self: &Arc<Self>) {
        let peers: Vec<_> = self.peers().alive();
        peers.into_iter().for_each(|peer| self.sync_presence_with(peer));
    }

    /// Fetches the presence of a node in all buckets of this one.
    fn sync_presence_with(self: &Arc<Self>, peer: NodeId) {
        let buckets = self.local().subscribed;
        let inbox = self.peers().alive_peers().find(|(id, _)| *id == peer).map(|(_, peer)| peer.inbox.clone());
        let Some(inbox) = inbox else { return };
        buckets.iter().filter(is_room).for_each(|bucket| self.sync_presence_from(peer, &inbox, bucket));
    }

    /// Fetches the presence of all nodes in a bucket that is new here.
    pub(super) fn sync_presence_in(self: &Arc<Self>, bucket: u16) {
        if !is_room(&bucket) {
            return;
        }
        let peers: Vec<_> = self.peers().alive_peers().map(|(id, peer)| (id, peer.inbox.clone())).collect();
        peers.into_iter().for_each(|(peer, inbox)| self.sync_presence_from(peer, &inbox, bucket));
    }

    fn sync_presence_from(self: &Arc<Self>, peer: NodeId, inbox: &Arc<PeerInbox>, bucket: u16) {
        let at = index(Subject::Bucket(bucket));
        if self.sink.presence_grace().is_none() || !inbox.begin_sync(at) {
            return;
        }
        let (node, inbox) = (self.clone(), inbox.clone());
        self.spawn(async move {
            while !node.fetch_presence(peer, &inbox, bucket).await {
                sleep(CLUSTER_CHECK).await;
                inbox.retry_sync(at);
            }
        });
    }

    /// Fetches the presence of a node in a bucket; returns whether that is done, or not needed any more.
    async fn fetch_presence(&self, peer: NodeId, inbox: &PeerInbox, bucket: u16) -> bool {
        let at = index(Subject::Bucket(bucket));
        let is_needed = || self.local().subscribed.contains(bucket) && self.peers().is_alive(peer);
        if !is_needed() {
            // a new link, a new session in the bucket, or the return of the node begin again
            inbox.end_sync(at);
            return true;
        }
        let Some(mut body) = self.ask_node(peer, Question::PresenceOf(bucket)).await else { return false };
        if body.len() < size_of::<u64>() || !is_needed() {
            return false;
        }
        let number = body.split_to(size_of::<u64>());
        let known_to = number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.sink.presence_is(peer, bucket, body);
        loop {
            match inbox.synced(at) {
                Synced::Apply(waiting) => {
                    let later = waiting.into_iter().filter(|(seq, _)| *seq > known_to);
                    later.for_each(|(_, changes)| self.change_presence_of(peer, changes));
                }
                Synced::Again => return false,
                Synced::Done => return true,
            }
        }
    }
}

fn is_room(bucket: &u16) -> bool {
    *bucket < super::interest::BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::bare_node::{Sizes, receive};
    use crate::cluster::envelope::Publish;
    use crate::cluster::envelope::{PacketWriter, encode};
    use crate::cluster::interest::InterestSet;
    use crate::cluster::target::{Operation, Scope};

    const ROOM: Subject = Subject::Bucket(36);

    fn packet(subject: Subject, sender: u64, entries: &[Entry]) -> (Subject, Bytes) {
        let mut writer = PacketWriter::new(subject, NodeId::from_bits(sender), None);
        entries.iter().for_each(|entry| writer.push(&encode(entry)));
        (subject, writer.finish(None))
    }

    fn mark(seq: u64) -> Entry {
        Entry::Mark { seq, request: 0 }
    }

    fn message(seq: u64) -> Entry {
        let target = Target::from(Scope::Rooms(vec!["42".to_owned()]));
        Entry::Publish {
            seq,
            publish: Publish { target, except: vec![], compressed: true, overflow: None, forms: vec![], copy: 0 },
        }
    }

    async fn after(packets: Vec<(Subject, Bytes)>) -> Sizes {
        receive(packets, Vec::new(), None, true).await
    }

    #[tokio::test]
    async fn claimed_numbers_are_counted_without_overflow() {
        let claims = |sender| [ROOM, Subject::Nodes].map(|at| packet(at, sender, &[mark(0), mark(u64::MAX)]));
        let sizes = after((1..4).flat_map(claims).collect()).await;
        assert_eq!(sizes.counts.lost, u64::MAX);
    }

    #[tokio::test]
    async fn packets_of_strangers_take_a_bounded_part_of_memory() {
        let beat =
            Beat { number: 1, name: "x".repeat(9000), interest: InterestSet::default(), is_new: true, request: 1 };
        let packets = (1..300).flat_map(|sender| {
            let entries = [Entry::Beat(beat.clone()), message(1), message(3), mark(9), Entry::Bye];
            (0..3).map(move |_| packet(ROOM, sender, &entries))
        });
        let Sizes { peers, outbox, published, held, tasks, counts, .. } = after(packets.collect()).await;
        assert_eq!((peers, published, counts.received), (299, 0, 299 * 3 * 2));
        assert!(outbox < (8 << 20) && held < 299 * 500, "{outbox} {held}");
        // the presence of each bucket once, and the history of one
        assert!(tasks <= 299 * (256 / 3 + 2), "{tasks}");
    }

    #[tokio::test]
    async fn recorded_request_to_operate_is_not_done_again() {
        let target = || Target::from(Scope::User("ann".to_owned()));
        let close = Question::Operate(Operation::Close { code: 1000, reason: String::new() });
        let requests = [1, 2].map(|id| Entry::Request { id, target: target(), question: close.clone() });
        let packets = [0, 1, 0, 1].map(|place| packet(Subject::Nodes, 1, &requests[place..=place]));
        let count = Entry::Request { id: 1, target: target(), question: Question::Count };
        let again = [&count, &count].map(|count| packet(Subject::Nodes, 1, std::slice::from_ref(count)));
        let sizes = after(packets.into_iter().chain(again).collect()).await;
        assert_eq!(sizes.counts.duplicates, 2);
    }

    #[tokio::test]
    async fn messages_that_are_missing_before_an_operation_are_fetched() {
        let kept = vec![packet(ROOM, 1, &[message(2)]).1];
        let target = Target::from(Scope::Rooms(vec!["42".to_owned()]));
        let operate = Entry::Operate { seq: 3, target, operation: Operation::Join("vip".to_owned()), copy: 0 };
        let presence = Entry::Presence { seq: 5, changes: Bytes::new() };
        let first = packet(ROOM, 1, &[message(1)]);
        let packets = [first, packet(ROOM, 1, std::slice::from_ref(&operate)), packet(ROOM, 1, &[operate, presence])];
        let counts = receive(packets, kept, None, false).await.counts;
        assert_eq!((counts.recovered, counts.lost, counts.duplicates), (1, 1, 1));
    }

    #[tokio::test]
    async fn message_with_copies_is_delivered_once_whatever_is_subscribed() {
        let copy = |bucket, seq, copy| {
            let target = Target::from(Scope::Rooms(vec!["42".to_owned(), "lobby".to_owned()]));
            let publish = Publish { target, except: vec![], compressed: true, overflow: None, forms: vec![], copy };
            packet(Subject::Bucket(bucket), 1, &[Entry::Publish { seq, publish }])
        };
        // neither of the buckets is a multiple of three
        let [a, b] = [133, 164];
        let packets = vec![copy(a, 1, 1), copy(b, 1, 1), copy(b, 2, 2), copy(a, 2, 2), copy(a, 3, 0)];
        assert_eq!(after(packets).await.delivered, 3);
    }

    #[tokio::test]
    async fn presence_of_a_node_that_has_ended_is_not_taken() {
        let change = |seq| packet(Subject::Bucket(1), 1, &[Entry::Presence { seq, changes: Bytes::new() }]);
        let bye = packet(Subject::Nodes, 1, &[Entry::Bye]);
        assert_eq!(after(vec![change(1), bye, change(2)]).await.present, 1);
    }

    #[tokio::test]
    async fn missing_messages_up_to_the_highest_number_are_fetched() {
        let lost = [message(1), message(u64::MAX)].map(|entry| packet(ROOM, 1, &[entry]).1);
        let sizes = receive([packet(ROOM, 1, &[mark(0), mark(u64::MAX)])], lost.to_vec(), None, false).await;
        assert_eq!((sizes.counts.recovered, sizes.counts.lost), (2, u64::MAX - 2));
    }
}
