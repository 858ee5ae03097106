//! What this node is about to publish: entries gather in packets while the engine takes the packets before.

use std::collections::HashMap;

use super::authentication::Key;
use super::backplane::{HistoryEntry, NodeId, Packet, Subject};
use super::envelope::{PacketWriter, overhead, set_seq, size_in_packet};
use super::interest::ALL_BUCKETS;

/// Size from which a packet gets no more entries: a larger one would delay its first entry.
const PACKET: usize = 64 << 10;

/// Memory that a packet takes beside its entries, about: an answer to each of many nodes is a packet each.
const PACKET_MEMORY: usize = 512;

/// Marks after the last message of a subject: a mark may be lost as well, and a node that hears none of them for so long
/// is dead, and gets one when it is heard again.
const MARKS: u8 = 20;

/// Bytes at which the nodes' own conversation stops as well, as a multiple of the bound for messages.
const CONTROL: usize = 4;

/// Packets that wait for the engine, bounded by their bytes.
#[derive(Debug)]
pub(crate) struct Outbox {
    node: NodeId,
    key: Option<Key>,
    max_packet: usize,
    max_bytes: usize,
    waiting: Vec<Waiting>,
    /// The last packet of each subject.
    last: HashMap<Subject, usize>,
    /// Bytes of messages and their histories.
    bytes: usize,
    /// Bytes of the nodes' own conversation.
    control_bytes: usize,
    /// The last sequence number of each bucket, and of all nodes.
    sequences: Box<[u64; ALL_BUCKETS + 1]>,
    /// How many more marks each of these gets; not zero where there were messages recently.
    marks: Box<[u8; ALL_BUCKETS + 1]>,
    /// Whether messages are accepted while the engine cannot be reached.
    pub(crate) is_open: bool,
}

#[derive(Debug)]
struct Waiting {
    writer: PacketWriter,
    history: Vec<HistoryEntry>,
    /// Messages and operations among its entries.
    messages: u64,
}

/// Packets to publish.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) packets: Vec<Packet>,
    pub(crate) messages: u64,
}

/// Why an entry was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAccepted {
    /// The engine cannot be reached, and nothing is queued meanwhile.
    Down,
    /// The engine is behind.
    Full,
    /// No packet has space for it.
    TooBig,
}

impl Outbox {
    pub(crate) fn new(node: NodeId, key: Option<Key>, max_packet: usize, max_bytes: usize) -> Self {
        Self {
            node,
            key,
            max_packet,
            max_bytes,
            waiting: Vec::new(),
            last: HashMap::new(),
            bytes: 0,
            control_bytes: 0,
            sequences: Box::new([0; ALL_BUCKETS + 1]),
            marks: Box::new([0; ALL_BUCKETS + 1]),
            is_open: false,
        }
    }

    /// Adds an entry with the next sequence number of its subject; returns the number.
    pub(crate) fn message(
        &mut self,
        subject: Subject,
        entry: &mut [u8],
        history: impl FnOnce(&[u8]) -> Vec<HistoryEntry>,
    ) -> Result<u64, NotAccepted> {
        self.admit(entry.len())?;
        let seq = self.next(subject);
        set_seq(entry, seq);
        let history = history(entry);
        self.bytes += history.iter().map(|history| history.entry.len()).sum::<usize>();
        self.marks[index(subject)] = MARKS;
        let (place, bytes) = self.push(subject, entry);
        self.bytes += bytes;
        let waiting = &mut self.waiting[place];
        waiting.messages += 1;
        waiting.history.extend(history);
        Ok(seq)
    }

    /// Adds an entry of the nodes' own conversation. It is small and rare, so only an entry that fits nowhere is refused.
    pub(crate) fn control(&mut self, subject: Subject, entry: &[u8]) -> Result<(), NotAccepted> {
        if self.is_too_big(entry.len()) {
            return Err(NotAccepted::TooBig);
        }
        // answers to strangers must not fill the memory, nor take the space of messages
        if self.control_bytes > CONTROL * self.max_bytes {
            return Err(NotAccepted::Full);
        }
        self.control_bytes += self.push(subject, entry).1;
        Ok(())
    }

    /// Uses a sequence number for a message that no other node needs: a node that should have had it will notice.
    pub(crate) fn skip(&mut self, subject: Subject) {
        self.next(subject);
        self.marks[index(subject)] = MARKS;
    }

    /// The last number used in this subject.
    pub(crate) fn last_seq(&self, subject: Subject) -> u64 {
        self.sequences[index(subject)]
    }

    /// The subjects with recent messages, and the last number of each.
    pub(crate) fn take_marks(&mut self) -> Vec<(Subject, u64)> {
        let mut due = Vec::new();
        for (place, (left, seq)) in self.marks.iter_mut().zip(&self.sequences[..]).enumerate() {
            if *left > 0 {
                *left -= 1;
                due.push((subject_at(place), *seq));
            }
        }
        due
    }

    /// The packets that wait. An entry added from now on begins new ones.
    pub(crate) fn take(&mut self) -> Batch {
        (self.bytes, self.control_bytes) = (0, 0);
        self.last.clear();
        let mut batch = Batch::default();
        for Waiting { writer, history, messages } in self.waiting.drain(..) {
            let subject = writer.subject;
            let mut packet = Packet::new(subject, writer.finish(self.key.as_ref()));
            packet.history = history;
            batch.packets.push(packet);
            batch.messages += messages;
        }
        batch
    }

    /// Whether messages wait.
    pub(crate) fn has_messages(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.messages > 0)
    }

    /// Drops what waits; returns the number of messages.
    pub(crate) fn clear(&mut self) -> u64 {
        (self.bytes, self.control_bytes) = (0, 0);
        self.last.clear();
        self.waiting.drain(..).map(|waiting| waiting.messages).sum()
    }

    /// An entry alone in a packet, as a history keeps it.
    pub(crate) fn single(node: NodeId, key: Option<&Key>, subject: Subject, entry: &[u8]) -> bytes::Bytes {
        let mut writer = PacketWriter::new(subject, node, key);
        writer.push(entry);
        writer.finish(key)
    }

    /// Number of bytes that wait.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.control_bytes
    }

    fn admit(&self, entry: usize) -> Result<(), NotAccepted> {
        if self.is_too_big(entry) {
            return Err(NotAccepted::TooBig);
        }
        if !self.is_open {
            return Err(NotAccepted::Down);
        }
        if self.bytes + entry > self.max_bytes && self.bytes > 0 { Err(NotAccepted::Full) } else { Ok(()) }
    }

    fn is_too_big(&self, entry: usize) -> bool {
        overhead(self.key.is_some()) + size_in_packet(entry) > self.max_packet
    }

    /// Adds an entry to a packet; returns the packet's place, and the bytes that were added.
    fn push(&mut self, subject: Subject, entry: &[u8]) -> (usize, usize) {
        let size = size_in_packet(entry.len());
        let mut added = size;
        let has_space = |waiting: &Waiting| waiting.writer.len() + size <= PACKET.min(self.max_packet);
        let open = self.last.get(&subject).copied().filter(|place| has_space(&self.waiting[*place]));
        let place = open.unwrap_or_else(|| {
            added += PACKET_MEMORY;
            let writer = PacketWriter::new(subject, self.node, self.key.as_ref());
            self.waiting.push(Waiting { writer, history: Vec::new(), messages: 0 });
            self.waiting.len() - 1
        });
        self.last.insert(subject, place);
        self.waiting[place].writer.push(entry);
        (place, added)
    }

    fn next(&mut self, subject: Subject) -> u64 {
        let seq = &mut self.sequences[index(subject)];
        *seq += 1;
        *seq
    }
}

/// The place of a subject's sequence.
pub(crate) fn index(subject: Subject) -> usize {
    match subject {
        Subject::Bucket(bucket) => usize::from(bucket).min(ALL_BUCKETS),
        Subject::Nodes | Subject::Node(_) => ALL_BUCKETS,
    }
}

/// The subject whose sequence has this place.
fn subject_at(place: usize) -> Subject {
    u16::try_from(place).ok().filter(|_| place < ALL_BUCKETS).map_or(Subject::Nodes, Subject::Bucket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::envelope::{self, Entry, encode};

    const NODE: NodeId = NodeId::from_bits(1);

    fn outbox() -> Outbox {
        Outbox { is_open: true, ..Outbox::new(NODE, None, 100 << 10, 200 << 10) }
    }

    fn presence(bytes: usize) -> Vec<u8> {
        encode(&Entry::Presence { seq: 0, changes: vec![0; bytes].into() })
    }

    #[test]
    fn entries_of_a_subject_share_packets_in_order() {
        let (mut outbox, a, b) = (outbox(), Subject::Bucket(1), Subject::Bucket(2));
        for number in 1..=50 {
            assert_eq!(outbox.message(a, &mut presence(2000), |_| vec![]), Ok(number));
            assert_eq!(outbox.message(b, &mut presence(10), |_| vec![]), Ok(number));
        }
        outbox.control(a, &encode(&Entry::Mark { seq: 50, request: 0 })).unwrap();
        let batch = outbox.take();
        assert_eq!(batch.messages, 100);
        let of = |subject| batch.packets.iter().filter(move |packet| packet.subject == subject);
        assert_eq!((of(a).count(), of(b).count()), (2, 1));
        let mut expected = 1;
        for packet in of(a) {
            for entry in envelope::read(a, packet.payload.clone(), None).unwrap().1 {
                match entry {
                    Entry::Presence { seq, .. } => assert_eq!(seq, expected),
                    mark => assert_eq!((mark, expected), (Entry::Mark { seq: 50, request: 0 }, 51)),
                }
                expected += 1;
            }
        }
        assert!(outbox.take().packets.is_empty());
    }

    #[test]
    fn bytes_are_bounded_and_what_is_refused_takes_no_number() {
        let (mut outbox, subject) = (outbox(), Subject::Bucket(1));
        assert_eq!(outbox.message(subject, &mut presence(100 << 10), |_| vec![]), Err(NotAccepted::TooBig));
        let accepted = (0..10).filter(|_| outbox.message(subject, &mut presence(50_000), |_| vec![]).is_ok()).count();
        assert_eq!(accepted, 4);
        assert_eq!(outbox.message(subject, &mut presence(50_000), |_| vec![]), Err(NotAccepted::Full));
        assert_eq!(outbox.last_seq(subject), 4);
        assert_eq!(outbox.clear(), 4);
        outbox.is_open = false;
        assert_eq!(outbox.message(subject, &mut presence(1), |_| vec![]), Err(NotAccepted::Down));
        assert!(outbox.control(subject, &encode(&Entry::Bye)).is_ok());
    }

    #[test]
    fn packets_to_many_nodes_are_bounded_by_their_memory() {
        let mut outbox = outbox();
        let bye = encode(&Entry::Bye);
        let accepted =
            (0..100_000).filter(|id| outbox.control(Subject::Node(NodeId::from_bits(*id)), &bye).is_ok()).count();
        assert!(accepted * PACKET_MEMORY < CONTROL * (200 << 10) + 2 * PACKET_MEMORY, "{accepted}");
        assert_eq!(outbox.take().packets.len(), accepted);
    }
}
