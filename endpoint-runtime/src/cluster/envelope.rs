//! What nodes send to each other, as bytes. Pure: `docs/cluster-protocol.md` describes the format and has test vectors.
//!
//! Whoever can publish to the engine can send anything, so reading checks every length and never trusts a number.

use bytes::{BufMut, Bytes, BytesMut};

use super::authentication::{Key, TAG};
use super::backplane::{NodeId, Subject};
use super::fields::{Reader, length_of, put_block, put_option};
use super::interest::InterestSet;
use super::target::{Operation, Question, Target};
use crate::config::Overflow;
use endpoint_wire::frame::OpCode;

/// The version of the format. A node drops packets of other versions and counts them.
const VERSION: u8 = 1;

/// The packet has a tag, made with the key that the nodes share.
const AUTHENTICATED: u8 = 1;

/// Version, flags and the sender.
const HEADER: usize = 2 + size_of::<u64>();

/// Bytes before an entry: its length.
const LENGTH: usize = size_of::<u32>();

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Its bytes are not a packet.
    Malformed,
    /// It has another version.
    Version,
    /// It has no tag, or a wrong one, or this node has no key.
    Unauthenticated,
    /// Too many other nodes are alive.
    Crowded,
}

/// One entry of a packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// The node is alive.
    Beat(Beat),
    /// The node ends.
    Bye,
    /// A message for sessions.
    Publish { seq: u64, publish: Publish },
    /// An operation on sessions. `copy` as that of [`Publish`].
    Operate { seq: u64, target: Target, operation: Operation, copy: u64 },
    /// Changes of presence, in the format of `presence`.
    Presence { seq: u64, changes: Bytes },
    /// The last number that the sender has used in this subject. `request` is not zero if the sender wants to know what
    /// became of that number.
    Mark { seq: u64, request: u64 },
    /// A question about sessions.
    Request { id: u64, target: Target, question: Question },
    /// A part of an answer to a request of the node that the subject names.
    Answer { id: u64, last: bool, body: Bytes },
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beat {
    /// How many beats the node has made, this one included: what an older one says does not count any more.
    pub(crate) number: u64,
    pub(crate) name: String,
    /// The buckets in which the node has sessions.
    pub(crate) interest: InterestSet,
    /// The other nodes should introduce themselves.
    pub(crate) is_new: bool,
    /// Not zero if the sender wants to know when the interest is known.
    pub(crate) request: u64,
}

/// A message for sessions of other nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Publish {
    pub(crate) target: Target,
    /// IDs of sessions that are left out.
    pub(crate) except: Vec<u128>,
    pub(crate) compressed: bool,
    pub(crate) overflow: Option<Overflow>,
    /// The message, for each subprotocol that has its own form of it.
    pub(crate) forms: Vec<Form>,
    /// The number that its copies in other subjects have as well; zero if there are none.
    pub(crate) copy: u64,
}

impl Publish {
    /// Bytes of memory behind it.
    pub(crate) fn memory(&self) -> usize {
        let forms = self.forms.iter().map(|Form { subprotocol, payload, deflated, .. }| {
            let frames = deflated.iter().map(|deflated| size_of_val(deflated) + deflated.1.len());
            size_of::<Form>() + subprotocol.as_ref().map_or(0, String::len) + payload.len() + frames.sum::<usize>()
        });
        self.target.memory() + size_of_val(&self.except[..]) + forms.sum::<usize>()
    }

    /// Copies the bytes that are parts of the packet it came in, so that it does not keep the packet.
    pub(crate) fn detach(&mut self) {
        let detach = |bytes: &mut Bytes| *bytes = Bytes::copy_from_slice(bytes);
        if let Some((_, value)) = &mut self.target.shared {
            detach(value);
        }
        for Form { payload, deflated, .. } in &mut self.forms {
            detach(payload);
            deflated.iter_mut().for_each(|(_, frame)| detach(frame));
        }
    }
}

/// An entry that takes effect in the order of its number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    Publish(Publish),
    Operate { target: Target, operation: Operation, copy: u64 },
}

impl Work {
    /// Bytes of memory apart from the value.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.memory(),
            Self::Operate { target, operation, .. } => target.memory() + operation.memory(),
        }
    }

    /// The number that its copies in other subjects have as well; zero if there are none.
    pub(crate) fn copy(&self) -> u64 {
        match self {
            Self::Publish(Publish { copy, .. }) | Self::Operate { copy, .. } => *copy,
        }
    }

    /// Copies what is a slice of a packet, so that the packet can go.
    pub(crate) fn detach(&mut self) {
        if let Self::Publish(publish) = self {
            publish.detach();
        }
    }
}

/// A message as the sessions of one subprotocol get it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Form {
    /// `None` for every session without a form of its own.
    pub(crate) subprotocol: Option<String>,
    pub(crate) opcode: OpCode,
    pub(crate) payload: Bytes,
    /// Compressed frames, by level and window bits.
    pub(crate) deflated: Vec<((u32, u8), Bytes)>,
}

/// A packet that is being put together.
#[derive(Debug)]
pub(crate) struct PacketWriter {
    pub(crate) subject: Subject,
    bytes: BytesMut,
    /// Where the entries begin.
    start: usize,
}

impl PacketWriter {
    pub(crate) fn new(subject: Subject, node: NodeId, key: Option<&Key>) -> Self {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u8(VERSION);
        bytes.put_u8(if key.is_some() { AUTHENTICATED } else { 0 });
        bytes.put_u64(node.to_bits());
        if key.is_some() {
            bytes.put_bytes(0, TAG);
        }
        let start = bytes.len();
        Self { subject, bytes, start }
    }

    /// Number of bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an entry that [`encode`] made.
    pub(crate) fn push(&mut self, entry: &[u8]) {
        self.bytes.put_u32(length_of(entry.len()));
        self.bytes.put_slice(entry);
    }

    /// The packet, with its tag.
    pub(crate) fn finish(mut self, key: Option<&Key>) -> Bytes {
        if let Some(key) = key {
            let tag = key.tag(self.subject, &self.bytes[..HEADER], &self.bytes[self.start..]);
            self.bytes[HEADER..self.start].copy_from_slice(&tag);
        }
        self.bytes.freeze()
    }
}

/// Bytes that an entry of this size needs in a packet.
pub(crate) const fn size_in_packet(entry: usize) -> usize {
    LENGTH + entry
}

/// Bytes of a packet without entries.
pub(crate) const fn overhead(is_authenticated: bool) -> usize {
    HEADER + if is_authenticated { TAG } else { 0 }
}

/// Reads a packet: its sender and its entries. Entries of an unknown kind are left out, so that old nodes understand
/// newer ones.
pub(crate) fn read(subject: Subject, packet: Bytes, key: Option<&Key>) -> Result<(NodeId, Vec<Entry>), Rejected> {
    let mut reader = Reader(packet.clone());
    let version = reader.u8().ok_or(Rejected::Malformed)?;
    if version != VERSION {
        return Err(Rejected::Version);
    }
    let flags = reader.u8().ok_or(Rejected::Malformed)?;
    let node = NodeId::from_bits(reader.u64().ok_or(Rejected::Malformed)?);
    let tag = if flags & AUTHENTICATED == 0 { None } else { Some(reader.take(TAG).ok_or(Rejected::Malformed)?) };
    match (key, tag) {
        (None, None) => {}
        (Some(key), Some(tag)) if key.is_tag(&tag, subject, &packet[..HEADER], &reader.0) => {}
        _ => return Err(Rejected::Unauthenticated),
    }
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        let entry = reader.block().ok_or(Rejected::Malformed)?;
        if let Some(known) = decode(entry)? {
            entries.push(known);
        }
    }
    Ok((node, entries))
}

/// The number of the sender of a packet, which may be forged; `None` if it is too short.
pub(crate) fn sender(packet: &[u8]) -> Option<NodeId> {
    let bits = packet.get(2..HEADER)?;
    Some(NodeId::from_bits(u64::from_be_bytes(bits.try_into().ok()?)))
}

// kinds of entries
const BEAT: u8 = 1;
const BYE: u8 = 2;
const PUBLISH: u8 = 3;
const OPERATE: u8 = 4;
const PRESENCE: u8 = 5;
const MARK: u8 = 6;
const REQUEST: u8 = 7;
const ANSWER: u8 = 8;

/// Bytes from the start of an entry to its sequence number.
const SEQ_AT: usize = 1;

/// Sets the sequence number of an encoded entry that has one.
pub(crate) fn set_seq(entry: &mut [u8], seq: u64) {
    if let Some(place) = entry.get_mut(SEQ_AT..SEQ_AT + size_of::<u64>()) {
        place.copy_from_slice(&seq.to_be_bytes());
    }
}

/// An entry as bytes.
pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    match entry {
        Entry::Beat(Beat { number, name, interest, is_new, request }) => {
            out.put_u8(BEAT);
            out.put_u64(*number);
            out.put_u64(*request);
            out.put_u8(u8::from(*is_new));
            put_block(&mut out, name.as_bytes());
            put_block(&mut out, &interest.to_bytes());
        }
        Entry::Bye => out.put_u8(BYE),
        Entry::Publish { seq, publish } => {
            out.put_u8(PUBLISH);
            out.put_u64(*seq);
            encode_publish(&mut out, publish);
        }
        Entry::Operate { seq, target, operation, copy } => {
            out.put_u8(OPERATE);
            out.put_u64(*seq);
            target.encode(&mut out);
            operation.encode(&mut out);
            put_copy(&mut out, *copy);
        }
        Entry::Presence { seq, changes } => {
            out.put_u8(PRESENCE);
            out.put_u64(*seq);
            put_block(&mut out, changes);
        }
        Entry::Mark { seq, request } => {
            out.put_u8(MARK);
            out.put_u64(*seq);
            out.put_u64(*request);
        }
        Entry::Request { id, target, question } => {
            out.put_u8(REQUEST);
            out.put_u64(*id);
            target.encode(&mut out);
            question.encode(&mut out);
        }
        Entry::Answer { id, last, body } => {
            out.put_u8(ANSWER);
            out.put_u64(*id);
            out.put_u8(u8::from(*last));
            put_block(&mut out, body);
        }
    }
    out
}

fn encode_publish(out: &mut Vec<u8>, publish: &Publish) {
    let Publish { target, except, compressed, overflow, forms, copy } = publish;
    target.encode(out);
    out.put_u32(length_of(except.len()));
    except.iter().for_each(|id| out.put_u128(*id));
    out.put_u8(u8::from(*compressed));
    out.put_u8(overflow_code(*overflow));
    out.put_u32(length_of(forms.len()));
    for Form { subprotocol, opcode, payload, deflated } in forms {
        put_option(out, subprotocol.as_deref());
        out.put_u8(*opcode as u8);
        put_block(out, payload);
        out.put_u32(length_of(deflated.len()));
        for ((level, window_bits), frame) in deflated {
            out.put_u32(*level);
            out.put_u8(*window_bits);
            put_block(out, frame);
        }
    }
    put_copy(out, *copy);
}

/// The last field, which is left out if there is only one copy.
fn put_copy(out: &mut Vec<u8>, copy: u64) {
    if copy != 0 {
        out.put_u64(copy);
    }
}

fn copy(reader: &mut Reader) -> Option<u64> {
    if reader.0.is_empty() { Some(0) } else { reader.u64() }
}

/// `None` if the kind is unknown.
fn decode(entry: Bytes) -> Result<Option<Entry>, Rejected> {
    let mut reader = Reader(entry);
    let kind = reader.u8().ok_or(Rejected::Malformed)?;
    let known = match kind {
        BEAT => beat(&mut reader),
        BYE => Some(Entry::Bye),
        PUBLISH => reader.u64().and_then(|seq| Some(Entry::Publish { seq, publish: publish(&mut reader)? })),
        OPERATE => operate(&mut reader),
        PRESENCE => reader.u64().and_then(|seq| Some(Entry::Presence { seq, changes: reader.block()? })),
        MARK => reader.u64().and_then(|seq| Some(Entry::Mark { seq, request: reader.u64()? })),
        REQUEST => request(&mut reader),
        ANSWER => answer(&mut reader),
        _ => return Ok(None),
    };
    known.map(Some).ok_or(Rejected::Malformed)
}

fn beat(reader: &mut Reader) -> Option<Entry> {
    let (number, request, is_new) = (reader.u64()?, reader.u64()?, reader.bool()?);
    let (name, interest) = (reader.text()?, InterestSet::from_bytes(&reader.block()?));
    Some(Entry::Beat(Beat { number, name, interest, is_new, request }))
}

fn operate(reader: &mut Reader) -> Option<Entry> {
    let seq = reader.u64()?;
    let (target, operation) = (Target::decode(reader)?, Operation::decode(reader)?);
    Some(Entry::Operate { seq, target, operation, copy: copy(reader)? })
}

fn request(reader: &mut Reader) -> Option<Entry> {
    let id = reader.u64()?;
    Some(Entry::Request { id, target: Target::decode(reader)?, question: Question::decode(reader)? })
}

fn answer(reader: &mut Reader) -> Option<Entry> {
    Some(Entry::Answer { id: reader.u64()?, last: reader.bool()?, body: reader.block()? })
}

fn publish(reader: &mut Reader) -> Option<Publish> {
    let target = Target::decode(reader)?;
    let except = reader.list(size_of::<u128>(), Reader::u128)?;
    let (compressed, overflow) = (reader.bool()?, overflow_of(reader.u8()?)?);
    // an empty form has a flag, an opcode, and two lengths
    let forms = reader.list(10, form)?;
    Some(Publish { target, except, compressed, overflow, forms, copy: copy(reader)? })
}

fn form(reader: &mut Reader) -> Option<Form> {
    let subprotocol = reader.option()?;
    let opcode = match reader.u8()? {
        1 => OpCode::Text,
        2 => OpCode::Binary,
        _ => return None,
    };
    let payload = reader.block()?;
    // RFC 6455 §8.1: a peer would fail the connection
    if opcode == OpCode::Text && std::str::from_utf8(&payload).is_err() {
        return None;
    }
    let deflated = reader.list(9, |reader| {
        let kind = (reader.u32()?, reader.u8()?);
        let frame = reader.block()?;
        is_compressed_frame(opcode, &frame).then_some((kind, frame))
    })?;
    Some(Form { subprotocol, opcode, payload, deflated })
}

/// Whether the bytes are one whole unmasked frame of a compressed message. RFC 6455 §5.2: its length has the fewest bytes.
fn is_compressed_frame(opcode: OpCode, frame: &[u8]) -> bool {
    const FIN_AND_RSV1: u8 = 0xc0;
    let (Some(first), Some(second)) = (frame.first(), frame.get(1)) else { return false };
    let (header, least, payload) = match second {
        length @ ..=125 => (2, 0, u64::from(*length)),
        126 => (4, 126, frame.get(2..4).map_or(0, |length| u64::from(u16::from_be_bytes([length[0], length[1]])))),
        127 => (10, 1 << 16, frame.get(2..10).and_then(|length| length.try_into().ok()).map_or(0, u64::from_be_bytes)),
        _ => return false,
    };
    let is_whole = payload >= least && (frame.len() as u64).checked_sub(header) == Some(payload);
    is_whole && *first == FIN_AND_RSV1 | opcode as u8
}

fn overflow_code(overflow: Option<Overflow>) -> u8 {
    match overflow {
        None => 0,
        Some(Overflow::Wait) => 1,
        Some(Overflow::Error) => 2,
        Some(Overflow::DropOldest) => 3,
        Some(Overflow::DropNewest) => 4,
        Some(Overflow::Close) => 5,
    }
}

fn overflow_of(code: u8) -> Option<Option<Overflow>> {
    Some(match code {
        0 => None,
        1 => Some(Overflow::Wait),
        2 => Some(Overflow::Error),
        3 => Some(Overflow::DropOldest),
        4 => Some(Overflow::DropNewest),
        5 => Some(Overflow::Close),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::target::Scope;

    const NODE: NodeId = NodeId::from_bits(0x0102_0304_0506_0708);

    fn packet(entries: &[Entry], key: Option<&Key>) -> Bytes {
        let mut writer = PacketWriter::new(Subject::Bucket(7), NODE, key);
        entries.iter().for_each(|entry| writer.push(&encode(entry)));
        writer.finish(key)
    }

    fn publish_of(text: &str, copy: u64) -> Entry {
        let form = Form { subprotocol: None, opcode: OpCode::Text, payload: text.to_owned().into(), deflated: vec![] };
        let publish = Publish {
            target: Target::from(Scope::Rooms(vec!["42".to_owned()])),
            except: vec![1],
            compressed: true,
            overflow: None,
            forms: vec![form],
            copy,
        };
        Entry::Publish { seq: 9, publish }
    }

    fn entries() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (any::<(u64, u64)>(), any::<bool>(), ".{0,9}", prop::collection::vec(0..512u16, 0..9)).prop_map(
                |((number, request), is_new, name, buckets)| {
                    Entry::Beat(Beat { number, name, interest: buckets.into_iter().collect(), is_new, request })
                }
            ),
            Just(Entry::Bye),
            (".{0,40}", any::<u64>()).prop_map(|(text, copy)| publish_of(&text, copy)),
            (any::<u64>(), any::<u64>()).prop_map(|(seq, request)| Entry::Mark { seq, request }),
            (any::<u64>(), ".{0,9}", any::<u64>()).prop_map(|(seq, room, copy)| Entry::Operate {
                seq,
                target: Target::from(Scope::User("ann".to_owned())),
                operation: Operation::Join(room),
                copy,
            }),
            (any::<u64>(), any::<u128>()).prop_map(|(id, session)| Entry::Request {
                id,
                target: Target::from(Scope::Session(session)).with_shared("team", b"red"),
                question: Question::Members,
            }),
            (any::<u64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(id, last, body)| Entry::Answer { id, last, body: body.into() }),
            (any::<u64>(), prop::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(seq, changes)| Entry::Presence { seq, changes: changes.into() }),
        ]
    }

    proptest! {
        #[test]
        fn packets_are_read_back(entries in prop::collection::vec(entries(), 0..5), secret in prop::option::of(".{1,20}")) {
            let key = secret.map(|secret| Key::new(secret.as_bytes()));
            let read = read(Subject::Bucket(7), packet(&entries, key.as_ref()), key.as_ref());
            prop_assert_eq!(read, Ok((NODE, entries)));
        }

        #[test]
        fn any_bytes_are_read_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(Subject::Nodes, bytes.into(), None);
        }

        #[test]
        fn changed_packets_are_read_or_rejected(entries in prop::collection::vec(entries(), 1..4), at: prop::sample::Index, to: u8) {
            let mut bytes = packet(&entries, None).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = read(Subject::Bucket(7), bytes.clone().into(), None);
            bytes.truncate(at);
            let _ = read(Subject::Bucket(7), bytes.into(), None);
        }

        #[test]
        fn any_change_of_an_authenticated_packet_is_rejected(at: prop::sample::Index, change in 1..=255u8) {
            let key = Key::new(b"secret");
            let mut bytes = packet(&[publish_of("hello", 0)], Some(&key)).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(read(Subject::Bucket(7), bytes.into(), Some(&key)).is_err());
        }
    }

    #[test]
    fn packet_of_another_subject_or_key_is_rejected() {
        let (key, other) = (Key::new(b"secret"), Key::new(b"other"));
        let bytes = packet(&[Entry::Bye], Some(&key));
        assert_eq!(read(Subject::Bucket(8), bytes.clone(), Some(&key)), Err(Rejected::Unauthenticated));
        assert_eq!(read(Subject::Bucket(7), bytes.clone(), Some(&other)), Err(Rejected::Unauthenticated));
        assert_eq!(read(Subject::Bucket(7), bytes.clone(), None), Err(Rejected::Unauthenticated));
        assert_eq!(read(Subject::Bucket(7), packet(&[Entry::Bye], None), Some(&key)), Err(Rejected::Unauthenticated));
        assert_eq!(read(Subject::Bucket(7), bytes, Some(&key)), Ok((NODE, vec![Entry::Bye])));
    }

    #[test]
    fn unknown_entries_and_added_fields_are_skipped() {
        let mut writer = PacketWriter::new(Subject::Nodes, NODE, None);
        writer.push(&[200, 1, 2, 3]);
        let mut longer = encode(&Entry::Mark { seq: 1, request: 2 });
        longer.extend_from_slice(b"a later version's field");
        writer.push(&longer);
        let read = read(Subject::Nodes, writer.finish(None), None);
        assert_eq!(read, Ok((NODE, vec![Entry::Mark { seq: 1, request: 2 }])));
    }

    #[test]
    fn other_versions_are_rejected() {
        let mut bytes = packet(&[Entry::Bye], None).to_vec();
        bytes[0] = 2;
        assert_eq!(read(Subject::Bucket(7), bytes.into(), None), Err(Rejected::Version));
    }

    #[test]
    fn text_that_is_not_utf_8_is_rejected() {
        let Entry::Publish { seq, mut publish } = publish_of("", 0) else { unreachable!() };
        publish.forms[0].payload = Bytes::from_static(b"\xff");
        let entry = Entry::Publish { seq, publish };
        assert_eq!(read(Subject::Bucket(7), packet(&[entry], None), None), Err(Rejected::Malformed));
    }

    #[test]
    fn compressed_frames_have_the_form_of_one() {
        assert!(is_compressed_frame(OpCode::Text, &[0xc1, 1, 0]));
        let mut long = vec![0xc2, 126, 0, 200];
        long.resize(204, 0);
        assert!(is_compressed_frame(OpCode::Binary, &long));
        let mut longest = vec![0xc2, 127, 0, 0, 0, 0, 0, 1, 0, 0];
        longest.resize(10 + 65_536, 0);
        assert!(is_compressed_frame(OpCode::Binary, &longest));
        assert!(!is_compressed_frame(OpCode::Text, &[0xc1, 126, 0, 1, 0]));
        assert!(!is_compressed_frame(OpCode::Text, &[0xc1, 127, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
        for bad in [&b""[..], &[0xc1], &[0xc1, 2, 0], &[0x81, 1, 0], &[0xc2, 1, 0], &[0xc1, 0x81, 0], &[0xc1, 127, 0]] {
            assert!(!is_compressed_frame(OpCode::Text, bad), "{bad:?}");
        }
    }
}
