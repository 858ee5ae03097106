//! Any packet of a cluster: reading it never panics, what was read and is written again reads the same, with a key and
//! without, and memory grows with the bytes that came. Then a node receives packets of any senders: it does not panic, and
//! what it keeps of its peers, its outbox and its held messages stays within bounds.

use endpoint_runtime::Bytes;
use endpoint_runtime::cluster::{NodeId, Subject};
use endpoint_runtime::fuzzing::{ClusterPacket, cluster_node};

use crate::input::Input;

const SECRET: &[u8] = b"secret";

/// Version, flags and the sender.
const HEADER: usize = 10;

/// An input that begins with this byte is one packet, after the byte of its subject. Any other is packets for a node.
const WHOLE: u8 = b'p';

pub fn run(input: &[u8]) {
    let mut input = Input(input);
    match input.byte() {
        WHOLE => {
            let subject = subject(input.byte());
            check_packet(subject, Bytes::copy_from_slice(input.0));
        }
        choices => check_node(choices, input),
    }
}

fn subject(byte: u8) -> Subject {
    match byte {
        0 => Subject::Nodes,
        1 => Subject::Node(NodeId::from_bits(1)),
        // some are of users, and some are no buckets
        number => Subject::Bucket(u16::from(number) * 3),
    }
}

fn check_packet(subject: Subject, packet: Bytes) {
    let claims_tag = packet.get(1).is_some_and(|flags| flags & 1 == 1);
    let tagged = ClusterPacket::read(subject, packet.clone(), Some(SECRET));
    let read = ClusterPacket::read(subject, packet.clone(), None);
    assert!(tagged.is_none() || claims_tag, "a packet without a tag was read with a key");
    assert!(read.is_none() || !claims_tag, "a tag was not checked");
    for read in [tagged, read].into_iter().flatten() {
        assert!(read.entries() <= (packet.len() - HEADER) / 5, "{} entries in {} bytes", read.entries(), packet.len());
        for key in [None, Some(SECRET)] {
            let written = read.encode(subject, key);
            // a set of buckets may be written shorter
            assert!(written.len() <= packet.len() + 20 + 64 * read.entries(), "it has grown");
            let again = ClusterPacket::read(subject, written.clone(), key);
            assert_eq!(again.as_ref(), Some(&read), "it reads differently");
            assert_eq!(read.encode(subject, key), written);
            // neither for another subject nor with a bit changed
            if key.is_some() {
                let other = if subject == Subject::Nodes { Subject::Bucket(0) } else { Subject::Nodes };
                assert!(ClusterPacket::read(other, written.clone(), key).is_none());
                let mut changed = written.to_vec();
                let place = packet.iter().fold(0, |sum, byte| sum + usize::from(*byte)) % changed.len();
                changed[place] ^= 1;
                assert!(ClusterPacket::read(subject, changed.into(), key).is_none());
            }
        }
    }
}

/// Each packet is the byte of its subject, the byte of its sender, and entries: the byte of a length and the entry. A
/// length of 255 ends the packet.
fn check_node(choices: u8, mut input: Input<'_>) {
    let (secret, stalls) = (choices & 1 != 0, choices & 2 != 0);
    let secret = secret.then_some(SECRET);
    let (mut packets, mut history, mut bytes) = (Vec::new(), Vec::new(), 0);
    while !input.is_empty() && packets.len() < 500 {
        let (place, sender) = (input.byte(), input.byte());
        let subject = subject(place);
        let mut packet = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, sender];
        while !input.is_empty() {
            let length = input.byte();
            if length == 255 {
                break;
            }
            let entry = input.take(usize::from(length));
            packet.extend((entry.len() as u32).to_be_bytes());
            packet.extend(entry);
        }
        let packet = Bytes::from(packet);
        // some of them as somebody with the key would send them
        let packet = match (secret, ClusterPacket::read(subject, packet.clone(), None)) {
            (Some(_), Some(read)) if sender & 1 == 0 => read.encode(subject, secret),
            _ => packet,
        };
        bytes += packet.len();
        if sender & 0x80 != 0 {
            history.push(packet.clone());
        }
        // a number of senders say the same
        let times = if sender == 77 { 50 } else { 1 };
        for number in 0..times {
            let mut packet = packet.to_vec();
            packet[2] ^= number;
            packets.push((subject, packet.into()));
        }
    }
    let count = packets.len();
    let node = cluster_node(packets, history, secret, stalls);
    assert!(node.peers <= count.min(4096), "{node:?}");
    assert!(node.outbox <= (4 * 8 << 20) + (512 << 10), "{node:?}");
    // with what each message takes beside its bytes
    assert!(node.held <= (64 << 20).min(60 * bytes + 1000 * count), "{node:?}");
    assert!(node.counts.rejected <= count as u64, "{node:?}");
    // a node asks each peer once about each bucket at most, and fetches each bucket of a peer once at a time
    assert!(node.tasks <= node.peers * 2 * 256, "{node:?}");
}
