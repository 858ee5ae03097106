//! Servers that somebody else wrote, Python's `websockets` and npm's `ws`, agree with our client on the protocol.
//!
//! They are found as `tests/run.sh` says, which runs these tests.

mod support;

use std::process::Stdio;

use endpoint_runtime::prelude::*;
use support::{Journal, soon};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Hands on what it hears, long messages by their length.
#[client_endpoint(subprotocols("chat.v1", "chat.v2"), max_message_size = "16MiB")]
struct Ear(Journal);

impl Ear {
    #[on_message]
    fn text(&self, text: String) {
        let long = text.len() > 1000;
        self.0.note(if long { format!("{} of text", text.len()) } else { text });
    }

    #[on_message]
    fn binary(&self, data: &[u8]) {
        self.0.note(format!("{} bytes that add up to {}", data.len(), sum(data)));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {reason} by {:?}", reason.initiator()));
    }
}

fn sum(data: &[u8]) -> u64 {
    data.iter().map(|byte| u64::from(*byte)).sum()
}

/// A program that runs until it is dropped, and the port it prints.
async fn start(program: &str, script: &str, arguments: &[&str]) -> (Child, u16) {
    let program = std::env::var(program).unwrap_or_else(|_| panic!("{program} is not set: run tests/run.sh"));
    let mut command = Command::new(program);
    command.arg(format!("{}/foreign/{script}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    if let Some(path) = std::env::var_os("ENDPOINT_NODE_PATH") {
        command.env("NODE_PATH", path);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = soon(lines.next_line()).await.unwrap().expect("a port").parse().unwrap();
    (child, port)
}

/// Speaks with it in all the ways there are.
async fn converse(program: &str, script: &str) {
    let keeping = Compression::ON.context_takeover(true).threshold(0);
    for (arguments, compression, compressed) in [
        (&[][..], Compression::OFF, false),
        (&[], Compression::ON.threshold(0), true),
        (&["--keeps"], keeping, true),
        (&["--keeps"], keeping.window_bits(10), true),
        (&[], keeping, true),
    ] {
        let (_server, port) = start(program, script, arguments).await;
        let container = ClientContainer::builder().compression(compression).build();
        let heard = Journal::default();
        let uri = format!("ws://127.0.0.1:{port}/");
        let session = soon(container.connect(Ear(heard.clone()), uri)).await.unwrap();
        assert_eq!(session.subprotocol(), Some("chat.v2"));
        assert_eq!(!session.extensions().is_empty(), compressed, "{compression:?}");

        for text in ["", "hello", "你好，世界 👋 ¿qué?"] {
            session.async_remote().send_text(text);
            heard.expect(text).await;
        }
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 5 << 20] {
            let data: Vec<u8> = (0..size).map(|place: usize| (place * place / 7) as u8).collect();
            let expected = format!("{size} bytes that add up to {}", sum(&data));
            session.async_remote().send_binary(data);
            heard.expect(&expected).await;
        }
        for number in 0..500 {
            session.async_remote().send_text(format!("message {number} of many"));
        }
        for number in 0..500 {
            heard.expect(&format!("message {number} of many")).await;
        }
        session.async_remote().send_text("parts");
        heard.expect("fragmented 分片").await;
        session.async_remote().send_text("ping");
        heard.expect("pong").await;
        session.async_remote().send_text("close");
        heard.expect("close 4001 下班了 by Peer").await;

        // and the other way round
        let uri = format!("ws://127.0.0.1:{port}/");
        let session = soon(container.connect(Ear(heard.clone()), uri)).await.unwrap();
        session.close_with(CloseReason::new(CloseCode::Other(4002), "done").unwrap());
        heard.expect("close 4002 done by Application").await;
        assert_eq!(soon(container.shutdown(support::DEADLINE)).await.cut, 0);
    }
}

#[tokio::test]
#[ignore = "needs a Python with `websockets`: tests/run.sh has it, and names it in ENDPOINT_PYTHON"]
async fn python_websockets_interoperates_with_our_client() {
    converse("ENDPOINT_PYTHON", "websockets_server.py").await;
}

#[tokio::test]
#[ignore = "needs Node.js with `ws`: tests/run.sh has them, and names them in ENDPOINT_NODE and ENDPOINT_NODE_PATH"]
async fn node_ws_interoperates_with_our_client() {
    converse("ENDPOINT_NODE", "ws_server.js").await;
}
