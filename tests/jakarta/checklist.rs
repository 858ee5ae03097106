//! What the kit does not ask, or asks without looking at the answer, and no other test here does.

use std::sync::Arc;

use endpoint_runtime::prelude::*;
use tokio::sync::Notify;

use crate::Step::{Hear, Silence, Text as Say};
use crate::support::{Journal, TestServer};
use crate::{Row, play};

#[server_endpoint("/strict")]
#[derive(Default)]
struct Strict;

impl Strict {
    #[on_message]
    fn truth(&self, truth: bool) -> bool {
        truth
    }

    #[on_error]
    async fn failed(&self, session: &Session, error: &Error) -> Result<(), Error> {
        session.basic_remote().send_text(format!("decode {} {:?}", error.is_decode(), error.text())).await
    }
}

#[tokio::test]
async fn boolean_is_true_or_false_and_nothing_else() {
    let rows: &[Row<'_>] = &[
        ("14 in Java \"yes\" is false", "/strict", &[Say("yes"), Hear("decode true Some(\"yes\")"), Silence]),
        ("14 in Java \"TRUE\" is true", "/strict", &[Say("TRUE"), Hear("decode true Some(\"TRUE\")"), Silence]),
        ("14 the session goes on", "/strict", &[Say(""), Hear("decode true Some(\"\")"), Say("false"), Hear("false")]),
    ];
    play(&TestServer::of::<Strict>().await, rows).await;
}

/// Notes under its connection's name what happens to it; is suspended where it is told to.
#[server_endpoint("/named/{name}")]
struct Named {
    journal: Journal,
    gate: Arc<Notify>,
}

/// A property of the session that remembers its name.
#[derive(Clone)]
struct Kept(String);

impl Named {
    #[on_open]
    fn open(&self, session: &Session, #[path_param] name: String) {
        session.properties().insert(Kept(name));
    }

    #[on_message]
    async fn text(&mut self, message: String, session: &Session) -> Result<String, &'static str> {
        match message.as_str() {
            "fail" => return Err("failed"),
            "hold" => self.gate.notified().await,
            "close" => session.close(),
            _ => {}
        }
        Ok(message)
    }

    #[on_error]
    fn error(&self, session: &Session, error: &Error) {
        let kept = session.properties().get::<Kept>().map(|kept| kept.0);
        self.journal.note(format!("error of {kept:?}: {error}, closed {}", error.is_closed()));
    }

    #[on_close]
    async fn close(&mut self, session: &Session) {
        self.journal.note("closing");
        self.gate.notified().await;
        let kept = session.properties().get::<Kept>().map(|kept| kept.0);
        let name = session.path_param("name");
        self.journal.note(format!("closed {kept:?} {name:?}"));
    }
}

async fn named() -> (TestServer, Journal, Arc<Notify>) {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let (own, its) = (journal.clone(), gate.clone());
    let container =
        ServerContainer::builder().endpoint_with(move |_| Ok(Named { journal: own.clone(), gate: its.clone() }));
    (TestServer::with(container).await, journal, gate)
}

#[tokio::test]
async fn error_reaches_on_error_of_its_session() {
    println!("WSC-4.6-1, WSC-4.6-2, WSC-5.2.2-1");
    let (server, journal, _) = named().await;
    let (mut ada, mut bob) = (server.connect("/named/ada").await, server.connect("/named/bob").await);
    for (client, name) in [(&mut bob, "bob"), (&mut ada, "ada")] {
        client.text("fail").await;
        journal.expect(&format!("error of Some({name:?}): failed, closed false")).await;
    }
    for client in [&mut ada, &mut bob] {
        client.text("on").await;
        client.expect_text("on").await;
    }
}

#[tokio::test]
async fn suspended_handler_delays_no_other_session() {
    println!("WSC-5.1-1: instances are of their own, and so is their time");
    let (server, _journal, gate) = named().await;
    let (mut ada, mut bob) = (server.connect("/named/ada").await, server.connect("/named/bob").await);
    ada.text("hold").await;
    ada.text("behind").await;
    ada.expect_silence().await;
    bob.text("on").await;
    bob.expect_text("on").await;
    gate.notify_one();
    ada.expect_text("hold").await;
    ada.expect_text("behind").await;
}

#[tokio::test]
async fn properties_last_until_on_close_has_ended() {
    println!("WSC-2.1.2-2: also where on_close is suspended, and the connection is long gone");
    let (server, journal, gate) = named().await;
    let mut client = server.connect("/named/ada").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    journal.expect("closing").await;
    gate.notify_one();
    journal.expect("closed Some(\"ada\") Some(\"ada\")").await;
}

#[tokio::test]
async fn reply_after_close_is_not_sent_and_reaches_on_error() {
    println!("OnMessage: the method completes, its value is not delivered, the failure goes to onError");
    let (server, journal, gate) = named().await;
    let mut client = server.connect("/named/ada").await;
    client.text("close").await;
    client.expect_close(1000).await;
    client.close(1000, "").await;
    client.expect_end().await;
    journal.expect("error of Some(\"ada\"): the session is closed, closed true").await;
    journal.expect("closing").await;
    gate.notify_one();
    journal.expect("closed Some(\"ada\") Some(\"ada\")").await;
}
