//! The test vectors of `docs/cluster-protocol.md`: the page and the code say the same.

use bytes::Bytes;

use super::authentication::Key;
use super::backplane::{NodeId, Subject};
use super::envelope::{Beat, Entry, Form, PacketWriter, Publish, encode, read};
use super::interest::{room_bucket, user_bucket};
use super::target::{Operation, Question, Scope, Target};
use crate::config::Overflow;
use endpoint_wire::frame::OpCode;

const PAGE: &str = include_str!("../../../docs/cluster-protocol.md");

const NODE: NodeId = NodeId::from_bits(0x0102_0304_0506_0708);

/// A packet of the page.
struct Vector {
    name: &'static str,
    subject: Subject,
    key: Option<Key>,
    packet: Bytes,
}

/// The packets of the page, in its order.
fn vectors() -> Vec<Vector> {
    PAGE.split("```text\nvector: ").skip(1).map(|block| vector(block.split("```").next().unwrap())).collect()
}

fn vector(block: &'static str) -> Vector {
    let (name, rest) = block.split_once("\nsubject: ").unwrap();
    let (subject, mut rest) = rest.split_once('\n').unwrap();
    let mut key = None;
    if let Some(keyed) = rest.strip_prefix("key: ") {
        let (secret, below) = keyed.split_once('\n').unwrap();
        (key, rest) = (Some(Key::new(secret.as_bytes())), below);
    }
    // two spaces are before what the bytes mean
    let hex = rest.lines().flat_map(|line| line.split("  ").next().unwrap().split(' '));
    let packet = hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    Vector { name, subject: subject.parse().unwrap(), key, packet }
}

/// What the page says about each packet that a node of this version writes.
fn meanings() -> Vec<(&'static str, Vec<Entry>)> {
    let room = |name: &str| Scope::Rooms(vec![name.to_owned()]);
    let text = |payload: &'static str, deflated| Form {
        subprotocol: None,
        opcode: OpCode::Text,
        payload: Bytes::from_static(payload.as_bytes()),
        deflated,
    };
    let beat = Beat {
        number: 8,
        name: "a".to_owned(),
        interest: [room_bucket("42"), user_bucket("42")].into_iter().collect(),
        is_new: true,
        request: 5,
    };
    let compressed = Bytes::from_static(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0");
    let publish = Publish {
        target: Target::from(room("42")),
        except: vec![7],
        compressed: true,
        overflow: None,
        forms: vec![text("Hello", vec![((6, 15), compressed)])],
        copy: 0,
    };
    let number = Form {
        subprotocol: Some("cbor".to_owned()),
        opcode: OpCode::Binary,
        payload: Bytes::from_static(b"\x18\x2a"),
        deflated: vec![],
    };
    let forms = Publish {
        target: Target::from(Scope::User("ann".to_owned())).with_shared("team", b"red"),
        except: vec![],
        compressed: false,
        overflow: Some(Overflow::DropOldest),
        forms: vec![number, text("42", vec![])],
        copy: 0,
    };
    let operate = |seq, scope, operation, copy| Entry::Operate { seq, target: Target::from(scope), operation, copy };
    let close = |code, reason: &str| Operation::Close { code, reason: reason.to_owned() };
    let ask = |id, question| Entry::Request { id, target: Target::from(room("42")), question };
    let presence = Question::PresenceOf(36);
    vec![
        ("beat", vec![Entry::Beat(beat)]),
        ("bye", vec![Entry::Bye]),
        ("publish_text", vec![Entry::Publish { seq: 9, publish }]),
        ("publish_forms", vec![Entry::Publish { seq: 1, publish: forms }]),
        ("operate_close", vec![operate(2, Scope::Everyone, close(1001, "bye"), 0)]),
        (
            "operate_join",
            vec![operate(
                10,
                Scope::Rooms(vec!["42".to_owned(), "lobby".to_owned()]),
                Operation::Join("vip".to_owned()),
                4,
            )],
        ),
        (
            "operate_leave",
            vec![operate(
                3,
                Scope::Session(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
                Operation::Leave("vip".to_owned()),
                0,
            )],
        ),
        ("presence", vec![Entry::Presence { seq: 11, changes: Bytes::from_static(&[1, 2, 3]) }]),
        ("mark", vec![Entry::Mark { seq: 9, request: 3 }]),
        ("request", vec![ask(4, Question::Members), ask(5, Question::Operate(close(1000, "")))]),
        ("request_presence", vec![Entry::Request { id: 6, target: Target::from(Scope::Everyone), question: presence }]),
        (
            "answer",
            vec![
                Entry::Answer { id: 4, last: false, body: Bytes::copy_from_slice(&7u128.to_be_bytes()) },
                Entry::Answer { id: 4, last: true, body: Bytes::from_static(b"\x01\0\0\0\x03ann") },
            ],
        ),
        ("authenticated", vec![Entry::Mark { seq: 9, request: 0 }]),
    ]
}

#[test]
fn packets_of_the_page_are_those_of_the_code() {
    let mut vectors = vectors();
    let later = vectors.pop().unwrap();
    let meanings = meanings();
    assert!(vectors.iter().map(|vector| vector.name).eq(meanings.iter().map(|(name, _)| *name)));
    for (Vector { name, subject, key, packet }, (_, entries)) in vectors.into_iter().zip(meanings) {
        let mut writer = PacketWriter::new(subject, NODE, key.as_ref());
        entries.iter().for_each(|entry| writer.push(&encode(entry)));
        assert_eq!(writer.finish(key.as_ref()), packet, "{name}");
        assert_eq!(read(subject, packet, key.as_ref()), Ok((NODE, entries)), "{name}");
    }
    // what this version cannot write, it reads
    assert_eq!(later.name, "later");
    assert_eq!(read(later.subject, later.packet, None), Ok((NODE, vec![Entry::Mark { seq: 9, request: 0 }])));
}

#[test]
fn packets_of_the_page_are_for_the_subjects_of_their_targets() {
    for (Vector { name, subject, .. }, (_, entries)) in vectors().into_iter().zip(meanings()) {
        for entry in entries {
            let (Entry::Publish { publish: Publish { target, .. }, .. } | Entry::Operate { target, .. }) = entry else {
                continue;
            };
            assert!(target.subjects().contains(&subject), "{name}");
        }
    }
}

#[test]
fn buckets_of_the_page_are_those_of_the_code() {
    let section = PAGE.split("\n## Buckets\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() > 3);
    for row in rows {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_end_matches('`')).collect();
        let [name, room, user, ..] = cells[..] else { panic!("{row}") };
        assert_eq!((room.parse(), user.parse()), (Ok(room_bucket(name)), Ok(user_bucket(name))), "{name}");
    }
}
