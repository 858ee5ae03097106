//! The engine with real servers: what every engine promises, and what only Redis has.

#[path = "../../tests/support/engine_contract.rs"]
mod engine_contract;
#[path = "../../tests/support/engines.rs"]
mod engines;

use std::error::Error as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use endpoint_redis::Redis;
use endpoint_runtime::cluster::{Backplane, Keep, Packet, Subject};
use engine_contract::{Peer, soon};
use engines::{Engine, redis};

const HOUR: Duration = Duration::from_secs(3600);

async fn single() -> (Engine, Redis) {
    let server = Engine::redis(&[]);
    let engine = soon(Redis::connect(&server.url())).await.unwrap();
    (server, engine)
}

async fn cluster() -> (Engine, Redis) {
    let server = Engine::redis_cluster();
    let engine = soon(Redis::connect(&server.url())).await.unwrap();
    (server, engine)
}

macro_rules! contract {
    ($server:ident: $($question:ident)*) => {
        mod $server {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
                async fn $question() {
                    let (mut server, engine) = super::$server().await;
                    super::engine_contract::$question(&mut server, &engine).await;
                }
            )*

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
            async fn other_prefix_is_another_cluster() {
                let (mut server, engine) = super::$server().await;
                let other = engine.clone().prefix("other");
                super::engine_contract::other_prefix_is_another_cluster(&mut server, &engine, &other).await;
            }
        }
    };
}

contract! {
    single:
    packets_of_a_subject_arrive_in_order
    subject_without_subscription_is_silent
    own_packets_come_back_once
    confirmed_subscription_gets_the_next_packet
    ten_thousand_packets_go_in_one_call
    requests_may_run_at_the_same_time
    packets_of_every_size_arrive
    killed_server_ends_the_link
    stopped_server_ends_the_link
    stalled_server_fails_the_request_and_ends_the_link
    stalled_server_ends_an_idle_link
    history_keeps_the_last_entries
    history_forgets_old_entries
    history_is_there_when_its_packet_arrives
    history_keys_may_have_any_character
    dropped_link_leaves_no_connection
}

contract! {
    cluster:
    packets_of_a_subject_arrive_in_order
    subject_without_subscription_is_silent
    own_packets_come_back_once
    confirmed_subscription_gets_the_next_packet
    ten_thousand_packets_go_in_one_call
    requests_may_run_at_the_same_time
    packets_of_every_size_arrive
    killed_server_ends_the_link
    history_keeps_the_last_entries
    history_forgets_old_entries
    history_is_there_when_its_packet_arrives
    history_keys_may_have_any_character
    dropped_link_leaves_no_connection
}

/// The number of calls of a command.
fn calls(server: &Engine, command: &str) -> u64 {
    let about = redis(server.ports()[0], &["INFO", "commandstats"]);
    let line = about.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
#[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
async fn packet_is_one_command() {
    let (server, engine) = single().await;
    let peer = Peer::of(&engine).await;
    let packets = (0..100).map(|number| Packet::new(Subject::Bucket(number), Bytes::new())).collect();
    soon(peer.link.publish(packets)).await.unwrap();
    assert_eq!((calls(&server, "publish"), calls(&server, "xadd")), (100, 0));
    peer.append("room", Keep { last: 10, within: HOUR }, ["one".to_owned()]).await;
    assert_eq!((calls(&server, "publish"), calls(&server, "xadd"), calls(&server, "pexpire")), (101, 1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
async fn history_that_nobody_appends_to_goes_from_the_server() {
    let (server, engine) = single().await;
    let peer = Peer::of(&engine).await;
    peer.append("room", Keep { last: 10, within: Duration::from_millis(200) }, ["one".to_owned()]).await;
    soon(async {
        while redis(server.ports()[0], &["DBSIZE"]) != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
async fn clusters_distribute_their_channels() {
    let (server, engine) = cluster().await;
    let peer = Peer::of(&engine).await;
    peer.subscribe((0..300).map(Subject::Bucket)).await;
    for port in server.ports() {
        let about = redis(port, &["INFO", "stats"]);
        let channels = about.lines().find_map(|line| line.strip_prefix("pubsubshard_channels:"));
        if let Some(channels) = channels {
            let channels: usize = channels.trim().parse().unwrap();
            assert!((50..150).contains(&channels), "{channels}");
        }
        assert!(redis(port, &["CLIENT", "LIST"]).contains("ssub="));
    }
}

#[tokio::test]
#[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
async fn moved_slot_ends_the_link_and_the_next_one_finds_it() {
    let (server, engine) = cluster().await;
    let ports = server.ports();
    let mut peer = Peer::of(&engine).await;
    peer.subscribe([Subject::Bucket(1)]).await;
    let slot = redis(ports[0], &["CLUSTER", "KEYSLOT", "ws.bucket.1"]);
    let owner: usize = slot.parse::<usize>().unwrap() / 5461;
    let target = (owner.min(2) + 1) % 3;
    let id = redis(ports[target], &["CLUSTER", "MYID"]);
    // the new owner first, so that its claim is newer
    for port in [ports[target], ports[owner.min(2)], ports[(target + 1) % 3]] {
        assert_eq!(redis(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]), "OK");
    }
    let reason = soon(peer.link.closed()).await.to_string();
    assert!(reason.contains("ended the subscription to ws.bucket.1"), "{reason}");

    peer = Peer::of(&engine).await;
    peer.subscribe([Subject::Bucket(1)]).await;
    peer.publish(Subject::Bucket(1), "moved").await;
    assert_eq!(peer.next().await.1, "moved");
}

#[tokio::test]
#[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
async fn password_is_checked_and_never_shown() {
    let server = Engine::redis(&["--requirepass", "open sesame"]);
    let port = server.ports()[0];
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{port}");
    let engine = soon(Redis::connect(&url("open%20sesame"))).await.unwrap();
    Peer::of(&engine).await;
    assert!(!format!("{engine:?}").contains("sesame"), "{engine:?}");
    assert!(format!("{engine:?}").contains(&format!("127.0.0.1:{port}")), "{engine:?}");

    let error = soon(Redis::connect(&url("wrongsecret"))).await.unwrap_err();
    assert!(error.to_string().contains(&format!("cannot use Redis at 127.0.0.1:{port}")), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrongsecret"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs redis-server: ENDPOINT_REDIS_SERVER"]
async fn user_with_the_permissions_of_the_readme_can_do_everything() {
    let rules = "+publish +subscribe +unsubscribe +xadd +xrevrange +pexpire +time +ping +info";
    let user = ["--user", "app", "on", ">secret", "~shop.*", "&shop.*"];
    let server = Engine::redis(&[&user[..], &rules.split(' ').collect::<Vec<_>>()].concat());
    let url = format!("redis://app:secret@127.0.0.1:{}", server.ports()[0]);
    let engine = soon(Redis::connect(&url)).await.unwrap();
    let mut peer = Peer::of(&engine.clone().prefix("shop")).await;
    peer.subscribe([Subject::Nodes]).await;
    let keep = Keep { last: 10, within: HOUR };
    peer.append("room", keep, ["entry".to_owned()]).await;
    peer.next().await;
    assert_eq!(peer.history("room", keep).await, ["entry"]);
    soon(peer.link.unsubscribe(vec![Subject::Nodes])).await.unwrap();

    // with another prefix it is an error, and no silence
    let peer = Peer::of(&engine).await;
    let error = soon(peer.link.subscribe(vec![Subject::Nodes])).await.unwrap_err().to_string();
    assert!(error.contains("NOPERM") || error.contains("permission"), "{error}");
    soon(peer.link.closed()).await;
}

#[tokio::test]
async fn wrong_address_is_reported_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = Instant::now();
    let error = Redis::connect(&format!("redis://user:secret@127.0.0.1:{port}")).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot use Redis at 127.0.0.1:{port}: ")), "{text}");
    assert!(text.ends_with("; start Redis there, or correct the address or its credentials"), "{text}");
    assert!(text.contains("refused") && !text.contains("secret"), "{text}");
    assert!(error.source().is_some());
}

#[tokio::test]
async fn silent_server_is_reported_after_five_seconds() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let error = Redis::connect(&format!("redis://{}", listener.local_addr().unwrap())).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    assert!(error.to_string().contains("cannot use Redis at"), "{error}");
}

#[test]
fn engine_is_what_a_cluster_takes() {
    fn takes<B: Backplane + Clone + std::fmt::Debug>() {}
    takes::<Redis>();
}
