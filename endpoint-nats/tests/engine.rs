//! The engine with real servers: what every engine promises, and what only NATS has.

#[path = "../../tests/support/engine_contract.rs"]
mod engine_contract;
#[path = "../../tests/support/engines.rs"]
mod engines;

use std::error::Error as _;
use std::time::{Duration, Instant};

use endpoint_nats::Nats;
use endpoint_runtime::cluster::{Backplane, Inbound, Keep, Packet, Subject};
use engine_contract::{Peer, soon};
use engines::Engine;

const HOUR: Duration = Duration::from_secs(3600);

async fn single() -> (Engine, Nats) {
    let server = Engine::nats(true);
    let engine = soon(Nats::connect(&server.url())).await.unwrap();
    (server, engine)
}

macro_rules! contract {
    ($server:ident: $($question:ident)*) => {
        mod $server {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
                async fn $question() {
                    let (mut server, engine) = super::$server().await;
                    super::engine_contract::$question(&mut server, &engine).await;
                }
            )*

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
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

#[tokio::test]
#[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
async fn server_without_jetstream_carries_packets_and_says_how_to_keep_history() {
    let server = Engine::nats(false);
    let engine = soon(Nats::connect(&server.url())).await.unwrap();
    assert!(!engine.keeps_history());
    let mut peer = Peer::of(&engine).await;
    peer.subscribe([Subject::Nodes]).await;
    let keep = Keep { last: 10, within: HOUR };
    let packet = Packet::new(Subject::Nodes, "to all".into()).and_history("room", keep, "entry".into());
    soon(peer.link.publish(vec![packet])).await.unwrap();
    assert_eq!(peer.next().await.1, "to all");
    let error = soon(peer.link.history("room", keep)).await.unwrap_err().to_string();
    assert!(error.contains("nats-server --jetstream"), "{error}");
}

#[tokio::test]
#[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
async fn largest_packet_is_half_of_what_the_server_takes() {
    let (_server, engine) = single().await;
    assert_eq!(engine.max_packet(), 512 << 10);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
async fn nodes_that_start_together_share_one_stream() {
    let (_server, engine) = single().await;
    let appending = (0..8).map(|number| {
        let engine = engine.clone();
        // each needs another change of the stream
        let (last, days) = [(100, 1), (1000, 20), (1500, 1), (10, 100)][number % 4];
        tokio::spawn(async move {
            let keep = Keep { last, within: HOUR * 24 * days };
            let peer = Peer::of(&engine).await;
            peer.append(&format!("room {number}"), keep, (0..last + 100).map(|entry| entry.to_string())).await;
            (peer, number, keep)
        })
    });
    for peer in futures_util::future::join_all(appending).await {
        let (peer, number, keep) = peer.unwrap();
        assert_eq!(peer.history(&format!("room {number}"), keep).await.len(), keep.last, "room {number}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
async fn user_with_the_permissions_of_the_readme_can_do_everything() {
    let server = Engine::nats_with(
        true,
        r#"authorization { users = [{ user: app, password: "open secret", permissions: {
            publish: ["shop.>", "$JS.API.>"], subscribe: ["shop.>", "_INBOX.>"]
        } }] }"#,
    );
    let port = server.ports()[0];
    let engine = soon(Nats::connect(&format!("nats://app:open%20secret@127.0.0.1:{port}"))).await.unwrap();
    assert!(!format!("{engine:?}").contains("secret"), "{engine:?}");
    let mut peer = Peer::of(&engine.clone().prefix("shop")).await;
    peer.subscribe([Subject::Nodes]).await;
    let keep = Keep { last: 10, within: HOUR };
    peer.append("room", keep, ["entry".to_owned()]).await;
    peer.next().await;
    assert_eq!(peer.history("room", keep).await, ["entry"]);
    soon(peer.link.unsubscribe(vec![Subject::Nodes])).await.unwrap();

    // with another prefix it is an error, and no silence
    let error = soon(engine.connect(Inbound::new(|_, _| ()))).await.err().unwrap().to_string();
    assert!(error.to_lowercase().contains("permissions violation"), "{error}");
    let error = soon(Nats::connect(&format!("nats://app:wrongsecret@127.0.0.1:{port}"))).await.unwrap_err();
    assert!(error.to_string().contains("authorization violation"), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrongsecret"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs nats-server: ENDPOINT_NATS_SERVER"]
async fn token_of_the_address_is_sent() {
    let server = Engine::nats_with(false, "authorization { token: secret }");
    let port = server.ports()[0];
    let engine = soon(Nats::connect(&format!("nats://secret@127.0.0.1:{port}"))).await.unwrap();
    Peer::of(&engine).await;
    assert!(soon(Nats::connect(&format!("nats://127.0.0.1:{port}"))).await.is_err());
}

#[tokio::test]
async fn wrong_address_is_reported_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = Instant::now();
    let error = Nats::connect(&format!("nats://user:secret@127.0.0.1:{port}")).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot use NATS at 127.0.0.1:{port}: ")), "{text}");
    assert!(text.ends_with("; start NATS there, or correct the address or its credentials"), "{text}");
    assert!(text.contains("refused") && !text.contains("secret"), "{text}");
    assert!(error.source().is_some());
}

#[tokio::test]
async fn silent_server_is_reported_after_five_seconds() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let error = Nats::connect(&format!("nats://{}", listener.local_addr().unwrap())).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    assert!(error.to_string().contains("cannot use NATS at"), "{error}");
}

#[test]
fn engine_is_what_a_cluster_takes() {
    fn takes<B: Backplane + Clone + std::fmt::Debug>() {}
    takes::<Nats>();
}
