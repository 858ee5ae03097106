//! Who closes, how, when: what the peer sees, what `on_close` sees, and that it runs exactly once.

mod support;

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;
use support::{Journal, TestServer};

#[server_endpoint("/close")]
struct Closing {
    journal: Journal,
}

impl Closing {
    #[on_message]
    async fn on_message(&mut self, message: String, session: &Session) -> Option<String> {
        match message.as_str() {
            "close" => session.close(),
            other => return Some(other.to_owned()),
        }
        None
    }

    #[on_close]
    async fn on_close(&mut self, session: &Session, reason: CloseReason) {
        self.journal.note(format!("close {reason} by {:?} open {}", reason.initiator(), session.is_open()));
    }
}

async fn server() -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Closing { journal: own.clone() }));
    (TestServer::with(container).await, journal)
}

#[tokio::test]
async fn peer_closes_and_gets_its_code_back() {
    let (server, journal) = server().await;
    let mut client = server.connect("/close").await;
    client.text("x").await;
    client.expect_text("x").await;
    client.close(4001, "bye").await;
    client.expect_close(4001).await;
    client.expect_end().await;
    journal.expect("close 4001 bye by Peer open false").await;
    assert!(journal.rest().is_empty());
}
