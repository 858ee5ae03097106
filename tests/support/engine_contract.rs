//! What every engine promises, as questions to any of them. The tests of the engines include this file.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use endpoint_runtime::cluster::{Backplane, BackplaneLink, Inbound, Keep, NodeId, Packet, Subject};
use tokio::sync::mpsc;

use crate::engines::Engine;

/// The longest a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(30);

/// A time in which something would have arrived.
const SILENCE: Duration = Duration::from_millis(300);

const HOUR: Duration = Duration::from_secs(3600);

/// A link, and what has arrived through it.
pub struct Peer {
    pub link: Box<dyn BackplaneLink>,
    arrived: mpsc::UnboundedReceiver<(Subject, Bytes)>,
}

impl Peer {
    pub async fn of(engine: &impl Backplane) -> Self {
        let (send, arrived) = mpsc::unbounded_channel();
        let inbound = Inbound::new(move |subject, payload| drop(send.send((subject, payload))));
        Self { link: soon(engine.connect(inbound)).await.unwrap(), arrived }
    }

    pub async fn publish(&self, subject: Subject, payload: impl Into<Bytes>) {
        soon(self.link.publish(vec![Packet::new(subject, payload.into())])).await.unwrap();
    }

    pub async fn subscribe(&self, subjects: impl IntoIterator<Item = Subject>) {
        soon(self.link.subscribe(subjects.into_iter().collect())).await.unwrap();
    }

    pub async fn next(&mut self) -> (Subject, Bytes) {
        soon(self.arrived.recv()).await.expect("the link has ended")
    }

    pub async fn silence(&mut self) {
        if let Ok(arrived) = tokio::time::timeout(SILENCE, self.arrived.recv()).await {
            panic!("unexpected: {arrived:?}");
        }
    }

    pub async fn append(&self, key: &str, keep: Keep, entries: impl IntoIterator<Item = String>) {
        let packet = |entry: String| Packet::new(Subject::Nodes, Bytes::new()).and_history(key, keep, entry.into());
        soon(self.link.publish(entries.into_iter().map(packet).collect())).await.unwrap();
    }

    pub async fn history(&self, key: &str, keep: Keep) -> Vec<String> {
        let entries = soon(self.link.history(key, keep)).await.unwrap();
        entries.iter().map(|entry| String::from_utf8(entry.to_vec()).unwrap()).collect()
    }
}

#[track_caller]
pub fn soon<F: Future>(event: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, event).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: nothing within {DEADLINE:?}"),
        }
    }
}

fn text(number: usize) -> String {
    format!("packet {number}")
}

fn some_subjects() -> Vec<Subject> {
    let nodes = [1, u64::MAX].map(|bits| Subject::Node(NodeId::from_bits(bits)));
    nodes.into_iter().chain([Subject::Nodes]).chain((0..20).map(Subject::Bucket)).collect()
}

pub async fn packets_of_a_subject_arrive_in_order(_: &mut Engine, engine: &impl Backplane) {
    let (sender, mut receiver) = (Peer::of(engine).await, Peer::of(engine).await);
    let subjects = some_subjects();
    receiver.subscribe(subjects.clone()).await;
    for round in 0..20 {
        let packet = |number: usize| Packet::new(subjects[number % subjects.len()], text(round * 100 + number).into());
        soon(sender.link.publish((0..100).map(packet).collect())).await.unwrap();
    }
    let mut arrived: HashMap<Subject, Vec<usize>> = HashMap::new();
    for _ in 0..2000 {
        let (subject, payload) = receiver.next().await;
        let number = std::str::from_utf8(&payload).unwrap().strip_prefix("packet ").unwrap().parse().unwrap();
        arrived.entry(subject).or_default().push(number);
    }
    assert_eq!(arrived.len(), subjects.len());
    for (subject, numbers) in arrived {
        assert!(numbers.is_sorted(), "{subject}: {numbers:?}");
    }
    receiver.silence().await;
}

pub async fn subject_without_subscription_is_silent(_: &mut Engine, engine: &impl Backplane) {
    let (sender, mut receiver) = (Peer::of(engine).await, Peer::of(engine).await);
    receiver.subscribe([Subject::Bucket(1), Subject::Bucket(2)]).await;
    sender.publish(Subject::Bucket(3), "not subscribed").await;
    sender.publish(Subject::Nodes, "not subscribed").await;
    sender.publish(Subject::Bucket(1), "one").await;
    assert_eq!(receiver.next().await, (Subject::Bucket(1), "one".into()));

    soon(receiver.link.unsubscribe(vec![Subject::Bucket(1), Subject::Bucket(9)])).await.unwrap();
    sender.publish(Subject::Bucket(1), "unsubscribed").await;
    sender.publish(Subject::Bucket(2), "two").await;
    assert_eq!(receiver.next().await, (Subject::Bucket(2), "two".into()));
    receiver.silence().await;

    receiver.subscribe([Subject::Bucket(1)]).await;
    sender.publish(Subject::Bucket(1), "again").await;
    assert_eq!(receiver.next().await, (Subject::Bucket(1), "again".into()));
}

pub async fn own_packets_come_back_once(_: &mut Engine, engine: &impl Backplane) {
    let mut peer = Peer::of(engine).await;
    peer.subscribe([Subject::Nodes]).await;
    // a second subscription changes nothing
    peer.subscribe([Subject::Nodes]).await;
    peer.publish(Subject::Nodes, "to all").await;
    assert_eq!(peer.next().await, (Subject::Nodes, "to all".into()));
    peer.silence().await;
}

pub async fn confirmed_subscription_gets_the_next_packet(_: &mut Engine, engine: &impl Backplane) {
    let (sender, mut receiver) = (Peer::of(engine).await, Peer::of(engine).await);
    for number in 0..100 {
        receiver.subscribe([Subject::Bucket(number)]).await;
        sender.publish(Subject::Bucket(number), "one").await;
        assert_eq!(receiver.next().await.0, Subject::Bucket(number));
    }
    let many = || (1000..3000).map(Subject::Bucket);
    receiver.subscribe(many()).await;
    let packets = many().rev().map(|subject| Packet::new(subject, Bytes::new())).collect();
    soon(sender.link.publish(packets)).await.unwrap();
    let mut arrived = Vec::new();
    for _ in many() {
        arrived.push(receiver.next().await.0);
    }
    arrived.sort();
    assert!(arrived.into_iter().eq(many()));
}

pub async fn ten_thousand_packets_go_in_one_call(_: &mut Engine, engine: &impl Backplane) {
    let (sender, mut receiver) = (Peer::of(engine).await, Peer::of(engine).await);
    receiver.subscribe([Subject::Bucket(4)]).await;
    let packets = (0..10_000).map(|number| Packet::new(Subject::Bucket(4), text(number).into())).collect();
    soon(sender.link.publish(packets)).await.unwrap();
    for number in 0..10_000 {
        assert_eq!(receiver.next().await.1, text(number));
    }
}

pub async fn requests_may_run_at_the_same_time(_: &mut Engine, engine: &impl Backplane) {
    let (sender, mut receiver) = (Peer::of(engine).await, Peer::of(engine).await);
    let subscribing = (0..50).map(|number| receiver.link.subscribe(vec![Subject::Bucket(number)]));
    soon(futures_util::future::try_join_all(subscribing)).await.unwrap();
    let packet = |number: u16| vec![Packet::new(Subject::Bucket(number % 50), Bytes::new())];
    let publishing = (0..500).map(|number| sender.link.publish(packet(number)));
    soon(futures_util::future::try_join_all(publishing)).await.unwrap();
    for _ in 0..500 {
        receiver.next().await;
    }
    receiver.silence().await;
}

pub async fn packets_of_every_size_arrive(_: &mut Engine, engine: &impl Backplane) {
    let mut peer = Peer::of(engine).await;
    peer.subscribe([Subject::Nodes]).await;
    for size in [0, 1, 100, 64 << 10, engine.max_packet() - 1, engine.max_packet()] {
        let payload: Bytes = (0..size).map(|index| (index % 251) as u8).collect::<Vec<_>>().into();
        peer.publish(Subject::Nodes, payload.clone()).await;
        assert!(peer.next().await.1 == payload, "{size}");
    }
}

pub async fn other_prefix_is_another_cluster(_: &mut Engine, engine: &impl Backplane, other: &impl Backplane) {
    let (mut one, other) = (Peer::of(engine).await, Peer::of(other).await);
    one.subscribe([Subject::Nodes]).await;
    other.publish(Subject::Nodes, "to others").await;
    let keep = Keep { last: 10, within: HOUR };
    other.append("room", keep, ["of others".to_owned()]).await;
    one.silence().await;
    assert_eq!(one.history("room", keep).await, [""; 0]);
}

pub async fn killed_server_ends_the_link(server: &mut Engine, engine: &impl Backplane) {
    let peer = Peer::of(engine).await;
    peer.subscribe([Subject::Nodes]).await;
    let start = Instant::now();
    server.kill();
    let reason = soon(peer.link.closed()).await.to_string();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}: {reason}", start.elapsed());
    assert!(!reason.is_empty());
    let publishing = peer.link.publish(vec![Packet::new(Subject::Nodes, Bytes::new())]);
    assert!(soon(publishing).await.is_err());
    assert!(soon(peer.link.subscribe(vec![Subject::Bucket(1)])).await.is_err());
    assert!(soon(engine.connect(Inbound::new(|_, _| ()))).await.is_err());

    server.start();
    let mut again = Peer::of(engine).await;
    again.subscribe([Subject::Nodes]).await;
    again.publish(Subject::Nodes, "back").await;
    assert_eq!(again.next().await.1, "back");
}

pub async fn stopped_server_ends_the_link(server: &mut Engine, engine: &impl Backplane) {
    let peer = Peer::of(engine).await;
    server.stop();
    soon(peer.link.closed()).await;
}

pub async fn stalled_server_fails_the_request_and_ends_the_link(server: &mut Engine, engine: &impl Backplane) {
    let peer = Peer::of(engine).await;
    peer.subscribe([Subject::Nodes]).await;
    server.pause();
    let publishing = peer.link.publish(vec![Packet::new(Subject::Nodes, Bytes::new())]);
    assert!(soon(publishing).await.is_err());
    soon(peer.link.closed()).await;
    drop(peer);
    server.resume();
    no_connection_is_left(server).await;
    Peer::of(engine).await;
}

pub async fn stalled_server_ends_an_idle_link(server: &mut Engine, engine: &impl Backplane) {
    let peer = Peer::of(engine).await;
    server.pause();
    soon(peer.link.closed()).await;
    server.resume();
}

pub async fn history_keeps_the_last_entries(_: &mut Engine, engine: &impl Backplane) {
    assert!(engine.keeps_history());
    let peer = Peer::of(engine).await;
    let keep = Keep { last: 10, within: HOUR };
    assert_eq!(peer.history("room", keep).await, [""; 0]);
    peer.append("room", keep, (0..3).map(text)).await;
    assert_eq!(peer.history("room", keep).await, [text(0), text(1), text(2)]);
    peer.append("room", keep, (3..500).map(text)).await;
    assert_eq!(peer.history("room", keep).await, (490..500).map(text).collect::<Vec<_>>());
    assert_eq!(peer.history("room", Keep { last: 2, ..keep }).await, [text(498), text(499)]);
    assert_eq!(peer.history("room", Keep { last: 0, ..keep }).await, [""; 0]);
    assert_eq!(peer.history("other room", keep).await, [""; 0]);

    // a more demanding room later, and one that keeps nothing
    let more = Keep { last: 300, within: 10 * HOUR };
    peer.append("large", more, (0..400).map(text)).await;
    assert_eq!(peer.history("large", more).await, (100..400).map(text).collect::<Vec<_>>());
    peer.append("none", Keep { last: 0, within: HOUR }, [text(0)]).await;
    assert_eq!(peer.history("none", keep).await, [""; 0]);
    let unlimited = Keep { last: usize::MAX >> 1, within: Duration::MAX };
    peer.append("unlimited", unlimited, (0..5).map(text)).await;
    assert_eq!(peer.history("unlimited", unlimited).await.len(), 5);

    // it is there for another node as well, also for one that comes later
    assert_eq!(Peer::of(engine).await.history("large", Keep { last: 1, within: HOUR }).await, [text(399)]);
}

pub async fn history_forgets_old_entries(_: &mut Engine, engine: &impl Backplane) {
    let peer = Peer::of(engine).await;
    let keep = Keep { last: 10, within: Duration::from_secs(3) };
    let start = Instant::now();
    peer.append("room", keep, [text(0)]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    peer.append("room", keep, [text(1)]).await;
    let second = Instant::now();
    let early = peer.history("room", keep).await;
    if start.elapsed() < keep.within {
        assert_eq!(early, [text(0), text(1)]);
    }
    tokio::time::sleep((start + keep.within + Duration::from_millis(200)).saturating_duration_since(Instant::now()))
        .await;
    let late = peer.history("room", keep).await;
    if second.elapsed() < keep.within {
        assert_eq!(late, [text(1)]);
    }
    tokio::time::sleep((second + keep.within + Duration::from_millis(200)).saturating_duration_since(Instant::now()))
        .await;
    assert_eq!(peer.history("room", keep).await, [""; 0]);
}

pub async fn history_is_there_when_its_packet_arrives(_: &mut Engine, engine: &impl Backplane) {
    let (sender, mut receiver) = (Peer::of(engine).await, Peer::of(engine).await);
    receiver.subscribe([Subject::Bucket(7)]).await;
    let keep = Keep { last: 10, within: HOUR };
    for number in 0..20 {
        let packet = Packet::new(Subject::Bucket(7), Bytes::new()).and_history("room", keep, text(number).into());
        let read = async {
            receiver.next().await;
            receiver.history("room", Keep { last: 1, ..keep }).await
        };
        let (published, read) = tokio::join!(sender.link.publish(vec![packet]), read);
        published.unwrap();
        assert_eq!(read, [text(number)]);
    }
}

pub async fn history_keys_may_have_any_character(_: &mut Engine, engine: &impl Backplane) {
    let peer = Peer::of(engine).await;
    let keep = Keep { last: 10, within: HOUR };
    let keys = [
        "", " ", "{", "}", "{a}b", "{a}c", "%7B", ".", "*", ">", "a.b", "a.*", "A", "a", "\0", "\r\n", "房间", "🦀",
        "-",
    ];
    for (number, key) in keys.into_iter().enumerate() {
        peer.append(key, keep, [text(number)]).await;
    }
    for (number, key) in keys.into_iter().enumerate() {
        assert_eq!(peer.history(key, keep).await, [text(number)], "{key:?}");
    }
}

pub async fn dropped_link_leaves_no_connection(server: &mut Engine, engine: &impl Backplane) {
    let mut peers = Vec::new();
    for _ in 0..3 {
        let peer = Peer::of(engine).await;
        peer.subscribe(some_subjects()).await;
        peer.append("room", Keep { last: 1, within: HOUR }, [text(0)]).await;
        peers.push(peer);
    }
    assert!(server.connections() >= 3, "{}", server.connections());
    drop(peers);
    no_connection_is_left(server).await;

    // neither does an attempt that is given up
    for microseconds in (0..3000).step_by(100) {
        let connecting = engine.connect(Inbound::new(|_, _| ()));
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), connecting).await;
    }
    no_connection_is_left(server).await;
}

async fn no_connection_is_left(server: &Engine) {
    let start = Instant::now();
    while server.connections() > 0 {
        assert!(start.elapsed() < DEADLINE, "{} connections are left", server.connections());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
