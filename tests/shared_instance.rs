//! One instance for all connections.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, HandshakeResponse};
use support::{Client, TestServer};

static MADE: AtomicUsize = AtomicUsize::new(0);

/// Everything an endpoint can have, with `&self`.
#[server_endpoint("/shared/{name}", instance = shared)]
struct Board {
    lines: Mutex<Vec<String>>,
}

impl Default for Board {
    fn default() -> Self {
        MADE.fetch_add(1, Ordering::SeqCst);
        Self { lines: Mutex::default() }
    }
}

impl Board {
    fn write(&self, line: impl Into<String>) -> String {
        let mut lines = self.lines.lock().unwrap();
        lines.push(line.into());
        lines.join(",")
    }

    #[on_open]
    fn opened(&self, #[path_param] name: &str) {
        self.write(format!("open {name}"));
    }

    #[on_message]
    async fn text(&self, text: String) -> Result<String, Error> {
        tokio::task::yield_now().await;
        if text == "fail" { Err(Error::user("failed")) } else { Ok(self.write(text)) }
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> String {
        self.write(format!("{} bytes", data.len()))
    }

    #[on_message]
    async fn pong(&self, pong: Pong) -> String {
        self.write(format!("pong of {}", pong.data().len()))
    }

    #[on_error]
    async fn failed(&self, error: &Error, session: &Session) {
        session.async_remote().send_text(self.write(error.to_string()));
    }

    #[on_close]
    async fn closed(&self, reason: CloseReason) {
        self.write(format!("close {}", reason.code()));
    }
}

#[server_endpoint("/own", instance = per_connection)]
#[derive(Default)]
struct Own(usize);

impl Own {
    #[on_message]
    fn count(&mut self, _: &str) -> usize {
        self.0 += 1;
        self.0
    }
}

/// A type without `Default`, and a configurator that must not make one.
#[server_endpoint("/given", instance = shared, configurator = Making)]
struct Given(&'static str);

impl Given {
    #[on_message]
    fn ask(&self, _: &str) -> &'static str {
        self.0
    }
}

#[derive(Default)]
struct Making;

impl Configurator<Given> for Making {
    async fn modify_handshake(&self, _: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
        Ok(())
    }

    fn endpoint(&self, _: &HandshakeRequest) -> Result<Option<Given>, Refusal> {
        panic!("asked for an instance");
    }
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

#[tokio::test]
async fn all_handlers_of_all_connections_use_the_shared_instance() {
    let server = TestServer::of::<Board>().await;
    assert_eq!(MADE.load(Ordering::SeqCst), 1);
    let mut ann = server.connect("/shared/ann").await;
    asked(&mut ann, "a", "open ann,a").await;
    let mut bob = server.connect("/shared/bob").await;
    asked(&mut bob, "b", "open ann,a,open bob,b").await;
    ann.binary(b"xyz").await;
    ann.expect_text("open ann,a,open bob,b,3 bytes").await;
    bob.send(0x80 | support::PONG, "12").await;
    bob.expect_text("open ann,a,open bob,b,3 bytes,pong of 2").await;
    asked(&mut ann, "fail", "open ann,a,open bob,b,3 bytes,pong of 2,failed").await;
    bob.close(4000, "").await;
    bob.expect_close(4000).await;
    bob.expect_end().await;
    while server.container.sessions().len() > 1 {
        tokio::task::yield_now().await;
    }
    ann.text("end").await;
    let end = String::from_utf8(ann.expect(support::TEXT).await).unwrap();
    assert!(end.starts_with("open ann,a,open bob,b,3 bytes,pong of 2,failed,close 4000"), "{end}");
    assert_eq!(MADE.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn instance_per_connection_equals_the_default() {
    let server = TestServer::of::<Own>().await;
    let (mut first, mut second) = (server.connect("/own").await, server.connect("/own").await);
    asked(&mut first, "?", "1").await;
    asked(&mut first, "?", "2").await;
    asked(&mut second, "?", "1").await;
}

#[tokio::test]
async fn shared_instance_may_be_given_at_mount() {
    let server = TestServer::with(ServerContainer::builder().endpoint_shared(Given("here"))).await;
    asked(&mut server.connect("/given").await, "?", "here").await;
}

#[tokio::test]
async fn mount_that_contradicts_the_annotation_is_a_deployment_error() {
    for (container, sentence) in [
        (ServerContainer::builder().endpoint_with(|_| Ok(Given("each"))), "mount it with endpoint_shared"),
        (ServerContainer::builder().endpoint_shared(Own(7)), "annotate it with `instance = shared`"),
    ] {
        let error = container.build().unwrap_err();
        assert!(error.is_deployment() && error.to_string().contains(sentence), "{error}");
    }
}
