//! Our client at Tomcat's endpoints.

use std::net::SocketAddr;

use endpoint_runtime::prelude::*;

use crate::support::{Journal, soon};

/// Notes what it hears, by its length.
#[client_endpoint]
struct Listener(Journal);

impl Listener {
    #[on_message]
    async fn text(&mut self, text: String) {
        self.0.note(format!("text {}", text.len()));
    }

    #[on_message]
    async fn binary(&mut self, data: Bytes) {
        self.0.note(format!("binary {}", data.len()));
    }

    #[on_message]
    fn pong(&mut self, pong: Pong) {
        self.0.note(format!("pong {}", String::from_utf8_lossy(pong.data())));
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) {
        self.0.note(format!("close {}", u16::from(reason.code())));
    }
}

/// Messages of the sizes where headers change, uncompressed, compressed, and with contexts that are kept.
pub async fn talks_to(tomcat: SocketAddr) {
    for (path, compression) in [
        ("echo", Compression::OFF),
        ("compressed", Compression::ON.threshold(0)),
        ("keeping", Compression::ON.threshold(0).context_takeover(true)),
    ] {
        let journal = Journal::default();
        let container = ClientContainer::builder().compression(compression).build();
        let uri = format!("ws://{tomcat}/{path}/client-{path}");
        let session = soon(container.connect(Listener(journal.clone()), uri)).await.unwrap();
        assert_eq!(session.extensions().len(), usize::from(path != "echo"), "{path}");
        for size in [0, 1, 125, 126, 65_535, 65_536] {
            session.basic_remote().send_text("é".repeat(size / 2) + &"e".repeat(size % 2)).await.unwrap();
            journal.expect(&format!("text {size}")).await;
        }
        if path == "echo" {
            session.basic_remote().send_binary(vec![0xff; 70_000]).await.unwrap();
            journal.expect("binary 70000").await;
        }
        session.basic_remote().send_ping("are you there?").await.unwrap();
        journal.expect("pong are you there?").await;
        session.close();
        journal.expect("close 1000").await;
        let ended = soon(container.shutdown(std::time::Duration::from_secs(5))).await;
        assert_eq!(ended.cut, 0, "{path}");
    }
}
