//! A client endpoint with every option and every handler, without `Default`.

use endpoint_runtime::prelude::*;

#[client_endpoint(
    subprotocols("chat.v2", "chat.v1"),
    max_message_size = "64KiB",
    idle_timeout = off,
    ping_interval = "10s",
    send_timeout = "5s",
    compression = on(level = 6),
)]
pub struct Bot {
    name: String,
}

impl Bot {
    #[on_open]
    async fn hello(&mut self, session: &Session, #[query_param] room: Option<String>) -> Result<(), Error> {
        session.basic_remote().send_text(format!("{} enters {room:?}", self.name)).await
    }

    #[on_message]
    fn heard(&mut self, text: &str, state: State<u8>) -> Option<String> {
        (*state > 0).then(|| text.to_owned())
    }

    #[on_message]
    async fn picture(&mut self, data: Bytes) -> Bytes {
        data
    }

    #[on_message]
    fn alive(&mut self, pong: Pong) {
        drop(pong);
    }

    #[on_close]
    fn bye(&mut self, reason: CloseReason) {
        drop(reason);
    }

    #[on_error]
    fn failed(&mut self, error: &Error) {
        eprintln!("{error}");
    }
}

#[client_endpoint]
enum Silent {
    Only,
}

async fn connect(container: ClientContainer) -> Result<Session, Error> {
    container.connect(Silent::Only, "ws://example.org/").await?;
    container.connect(Bot { name: "bot".into() }, String::from("ws://example.org/")).await
}

fn main() {
    let _ = connect;
}
