//! A client that echoes, for the fuzzing server of the Autobahn suite: `tests/autobahn/run_client.py` starts both.
//!
//! `cargo run --release -p examples --example autobahn_client -- ws://127.0.0.1:9001`

use endpoint_runtime::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Sends back what it gets, and says when it is over.
#[client_endpoint(max_message_size = "64MiB", compression = on(threshold = 0, context_takeover = true))]
struct Echo(UnboundedSender<String>);

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        let _ = self.0.send(reason.to_string());
    }

    // a violation is what the suite is for
    #[on_error]
    fn error(&self, _: &Error) {}
}

/// Hands on what it hears: how many cases there are.
#[client_endpoint]
struct Ear(UnboundedSender<String>);

impl Ear {
    #[on_message]
    fn text(&self, text: String) {
        let _ = self.0.send(text);
    }

    #[on_close]
    fn close(&self) {
        let _ = self.0.send("closed".to_owned());
    }
}

fn line() -> (UnboundedSender<String>, UnboundedReceiver<String>) {
    unbounded_channel()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let Some(server) = std::env::args().nth(1) else {
        eprintln!("usage: autobahn_client ws://HOST:PORT");
        std::process::exit(2)
    };
    let container = ClientContainer::new();
    let (sender, mut receiver) = line();
    container.connect(Ear(sender), format!("{server}/getCaseCount")).await?;
    let count: u32 = receiver.recv().await.and_then(|count| count.parse().ok()).unwrap_or(0);
    println!("{count} cases");
    for case in 1..=count {
        let (sender, mut receiver) = line();
        let session = container.connect(Echo(sender), format!("{server}/runCase?case={case}&agent=client")).await?;
        receiver.recv().await;
        drop(session);
    }
    let (sender, mut receiver) = line();
    container.connect(Ear(sender), format!("{server}/updateReports?agent=client")).await?;
    receiver.recv().await;
    Ok(())
}
