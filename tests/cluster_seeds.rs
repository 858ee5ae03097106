//! Clusters with random faults: whatever happens, nothing comes twice or out of order, what does not come is counted, and
//! after the last fault everything is right again.
//!
//! `SEED=7 cargo test --workspace --test cluster_seeds -- --nocapture one_seed` replays one run.

use std::collections::HashMap;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{TestClient, TestCluster, Traffic};
use tokio::time::{Instant, sleep, sleep_until, timeout};

#[server_endpoint("/chat/{room}", presence(grace = "1s"))]
#[derive(Default)]
struct Chat;

/// A user by name, from `?name=`.
struct Named(String);

impl Principal for Named {
    fn name(&self) -> &str {
        &self.0
    }
}

async fn by_name(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    if let Some((_, name)) = request.query_params().find(|(key, _)| key == "name") {
        response.set_principal(Named(name.into_owned()));
    }
    Ok(())
}

impl Chat {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: String) {
        session.join(&room);
    }

    #[on_message]
    fn ignore(&mut self, _: &str) {}
}

const NODES: usize = 3;
const ROOMS: [&str; 3] = ["a", "b", "c"];
const USERS: [&str; 4] = ["ann", "ben", "cy", "dan"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % below as u64) as usize
    }
}

struct Member {
    node: usize,
    room: usize,
    user: &'static str,
    client: TestClient,
    /// The last number of each sender.
    last: HashMap<(u64, usize), u64>,
}

impl Member {
    /// Reads what has come, and checks its order.
    async fn read(&mut self, seed: u64) -> Vec<String> {
        let mut came = Vec::new();
        while let Ok(traffic) = timeout(Duration::from_millis(1), self.client.next()).await {
            let Traffic::Text(text) = traffic else { continue };
            let text = text.to_string();
            let parts: Vec<u64> = text.split(' ').map(|part| part.parse().unwrap()).collect();
            let [sender, room, number] = parts[..] else { panic!("seed {seed}: {text}") };
            assert_eq!(room as usize, self.room, "seed {seed}: of another room");
            let last = self.last.insert((sender, room as usize), number);
            assert!(last.is_none_or(|last| last < number), "seed {seed}: {text} after {last:?}");
            came.push(text);
        }
        came
    }
}

/// Runs a cluster with the faults of a seed; returns a description of the run.
async fn run(seed: u64) -> String {
    let mut random = Random(seed);
    let mut cluster = TestCluster::new(0, |builder| builder.register::<Chat>().handshake(by_name)).seeded(seed);
    (0..NODES).for_each(|_| cluster.add());
    cluster.settle().await;
    let mut members: Vec<Member> = Vec::new();
    // numbers of each run of a node and room, and what each should have
    let mut numbers = HashMap::new();
    let mut run_of: Vec<u64> = (0..NODES as u64).collect();
    let mut runs = NODES as u64;
    let mut log = String::new();
    for _ in 0..random.next(40) + 10 {
        let node = random.next(NODES);
        match random.next(100) {
            0..15 => {
                let (room, user) = (random.next(ROOMS.len()), USERS[random.next(USERS.len())]);
                let client = cluster.node(node).connect(&format!("/chat/{}?name={user}", ROOMS[room])).await;
                members.push(Member { node, room, user, client, last: HashMap::new() });
                log += "join ";
            }
            15..60 => {
                for _ in 0..random.next(5) + 1 {
                    let room = random.next(ROOMS.len());
                    let number = numbers.entry((run_of[node], room)).or_insert(0u64);
                    *number += 1;
                    let text = format!("{} {room} {number}", run_of[node]);
                    cluster.node(node).container().room(ROOMS[room]).async_remote().send_text(text);
                }
                log += "send ";
            }
            60..66 => cluster.port(node).cut(),
            66..75 => cluster.port(node).heal(),
            75..79 => cluster.port(node).disconnect(),
            79..83 => cluster.port(node).slow(Duration::from_millis(random.next(900) as u64)),
            83..87 => cluster.port(node).lose(random.next(300) as u32, seed),
            87..89 => cluster.engine().stop(),
            89..92 => cluster.engine().start(),
            92..94 => {
                cluster.kill(node);
                members.retain(|member| member.node != node);
                cluster.restart(node);
                runs += 1;
                run_of[node] = runs;
                log += "kill ";
            }
            94..96 if !members.is_empty() => {
                let mut left = members.swap_remove(random.next(members.len()));
                left.client.close(1000, "").await;
            }
            _ => sleep(Duration::from_millis(random.next(4_000) as u64)).await,
        }
        for member in &mut members {
            let came = member.read(seed).await;
            log += &format!("{} ", came.len());
        }
    }
    // the last fault
    cluster.engine().start();
    (0..NODES).for_each(|node| cluster.port(node).heal());
    let healed = Instant::now();
    sleep(Duration::from_secs(1)).await;
    cluster.settle().await;
    // links behind a cut are noticed within five seconds, and a pause before the next attempt takes three more
    assert!(healed.elapsed() <= Duration::from_secs(10), "seed {seed}: right after {:?}", healed.elapsed());
    // a node whose link comes back grants every other node five seconds, and users of a dead one have their grace
    sleep_until(healed + Duration::from_secs(10)).await;
    cluster.settle().await;
    for node in 0..NODES {
        let health = cluster.node(node).container().health().cluster.unwrap();
        assert_eq!(health.peers.len(), NODES - 1, "seed {seed}: {health:?}");
    }
    for member in &mut members {
        member.read(seed).await;
    }
    for (room, name) in ROOMS.iter().enumerate() {
        let mut expected: Vec<_> =
            members.iter().filter(|member| member.room == room).map(|member| member.user).collect();
        expected.sort_unstable();
        expected.dedup();
        for node in 0..NODES {
            let handle = cluster.node(node).container().room(name);
            let present = handle.present::<()>().await;
            let names: Vec<_> = present.users.iter().map(|user| &*user.name).collect();
            assert_eq!((&names, present.missing.len()), (&expected, 0), "seed {seed}: in {name}, from {node}: {log}");
            if members.iter().any(|member| (member.node, member.room) == (node, room)) {
                let here = handle.present_here().list::<()>();
                let names: Vec<_> = here.iter().map(|user| &*user.name).collect();
                assert_eq!(names, expected, "seed {seed}: in {name}, known to {node}: {log}");
            }
        }
    }
    // now everything arrives, and the counts of losses stand still
    let lost = |cluster: &TestCluster| -> u64 {
        (0..NODES).map(|node| cluster.node(node).container().health().cluster.unwrap().counts.lost).sum()
    };
    let before = lost(&cluster);
    for (node, run) in run_of.iter().enumerate() {
        for (room, name) in ROOMS.iter().enumerate() {
            let number = numbers.entry((*run, room)).or_insert(0u64);
            *number += 1;
            let report =
                cluster.node(node).container().room(name).async_remote().send_text(format!("{} {room} {number}", run));
            let report = report.everywhere().await;
            let expected = members.iter().filter(|member| member.room == room).count();
            let health: Vec<_> =
                (0..NODES).map(|node| cluster.node(node).container().health().cluster.unwrap()).collect();
            let reached = (report.here + report.elsewhere, report.unsure.len());
            assert_eq!(reached, (expected, 0), "seed {seed}: from {node} to {name}: {report:?} {health:#?} {log}");
        }
    }
    for member in &mut members {
        assert_eq!(member.read(seed).await.len(), NODES, "seed {seed}");
    }
    assert_eq!(lost(&cluster), before, "seed {seed}");
    log + &format!("lost {before}")
}

fn replay(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(seed))
}

fn seeds(seeds: std::ops::Range<u64>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let mine = seeds.clone().filter(move |seed| seed % threads == thread);
            scope.spawn(move || mine.for_each(|seed| drop(replay(seed))));
        }
    });
}

#[test]
fn a_few_hundred_seeds() {
    seeds(0..300);
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_seeds() {
    seeds(0..10_000);
}

#[test]
fn one_seed() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    let first = replay(seed);
    println!("{first}");
    assert_eq!(first, replay(seed), "the same seed gives the same run");
}
