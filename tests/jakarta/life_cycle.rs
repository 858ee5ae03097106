//! Area M: instances, the one container, idle sessions, a request that is upgraded by hand. (What comes after what in
//! detail: `tests/lifecycle.rs`.)

use std::time::Duration;

use axum::extract::{Request, State as AxumState};
use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;

use crate::support::{Client, Journal, TestServer};

/// Counts the calls of its instance.
#[server_endpoint("/count")]
struct Count {
    calls: u32,
    journal: Journal,
}

impl Count {
    #[on_open]
    async fn open(&mut self, session: &Session) {
        if session.query_string() == Some("idle") {
            session.set_idle_timeout(Some(Duration::from_millis(1)));
        }
        tokio::task::yield_now().await;
        self.journal.note(format!("open {}", self.calls));
        self.calls += 1;
    }

    #[on_message]
    async fn text(&mut self, asked: String, session: &Session) -> String {
        self.calls += 1;
        match asked.as_str() {
            "container" => session.container().unwrap().sessions().len().to_string(),
            _ => self.calls.to_string(),
        }
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) {
        self.journal.note(format!("close {} by {:?} after {}", reason.code(), reason.initiator(), self.calls));
    }
}

/// Of the same container.
#[server_endpoint("/other")]
#[derive(Default)]
struct Other;

impl Other {
    #[on_message]
    fn text(&self, _asked: &str, session: &Session) -> usize {
        session.container().unwrap().sessions().len()
    }
}

fn container(journal: &Journal) -> endpoint_runtime::ContainerBuilder {
    let own = journal.clone();
    ServerContainer::builder()
        .ping_interval(None)
        .register::<Other>()
        .endpoint_with(move |_| Ok(Count { calls: 0, journal: own.clone() }))
}

async fn server() -> (TestServer, Journal) {
    let journal = Journal::default();
    (TestServer::with(container(&journal)).await, journal)
}

#[tokio::test]
async fn each_connection_has_its_own_state() {
    println!("M one instance per connection, WSC-2.1.1-1, WSC-3.1.7-1, WSC-5.1-1");
    let (server, journal) = server().await;
    let (mut first, mut second) = (server.connect("/count").await, server.connect("/count").await);
    for _ in 0..2 {
        journal.expect("open 0").await;
    }
    for expected in ["2", "3", "4"] {
        first.text("?").await;
        first.expect_text(expected).await;
    }
    second.text("?").await;
    second.expect_text("2").await;
    first.close(1000, "").await;
    journal.expect("close 1000 by Peer after 4").await;
}

#[tokio::test]
async fn container_is_the_same_for_all_sessions() {
    println!("M getContainer, WSC-2.1.7-1");
    let (server, journal) = server().await;
    let (mut first, mut second) = (server.connect("/count").await, server.connect("/other").await);
    journal.expect("open 0").await;
    // both are open once both have answered
    second.expect_silence().await;
    first.text("container").await;
    first.expect_text("2").await;
    second.text("?").await;
    second.expect_text("2").await;
}

#[tokio::test]
async fn idle_session_ends_with_1006_for_its_endpoint() {
    println!("M setMaxIdleTimeout(1), §2.1.5: 1006 here, a code of its own on the wire");
    let (server, journal) = server().await;
    let mut client = server.connect("/count?idle").await;
    journal.expect("open 0").await;
    assert_eq!(client.expect_close(1001).await, "idle timeout");
    journal.expect("close 1006 by Container after 1").await;
}

#[tokio::test]
async fn manually_upgraded_request_becomes_a_session() {
    println!("M upgradeHttpToWebSocket [2.1]: a page of another router takes the request");
    let journal = Journal::default();
    let container = container(&journal).build().unwrap();
    let page = async |AxumState(container): AxumState<ServerContainer>, request: Request| {
        container.upgrade::<Count, _>(request, [("any", "param")]).await
    };
    let app = axum::Router::new().route("/by/hand", axum::routing::get(page)).with_state(container);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut client = Client::connect(addr, "/by/hand").await;
    journal.expect("open 0").await;
    client.text("?").await;
    client.expect_text("2").await;
    // what is no handshake is refused
    let (answer, _) = Client::request(addr, &["GET /by/hand HTTP/1.1", "Host: localhost"], b"").await;
    assert_eq!(answer.status, 426);
}
