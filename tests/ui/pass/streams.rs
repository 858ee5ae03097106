//! Messages that a handler reads as a stream, and limits for the whole message.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

const LIMIT: u64 = 1 << 40;

#[server_endpoint("/streams")]
struct Streams;

impl Streams {
    #[on_message(max_total = "1GiB")]
    async fn text(&mut self, mut text: TextStream, session: &Session) -> Result<String, Error> {
        match text.next().await {
            Some(piece) => Ok(piece?.to_string()),
            None => Ok(session.id().to_string()),
        }
    }

    #[on_message(binary, max_total = LIMIT)]
    async fn binary(&mut self, _data: endpoint_runtime::BinaryStream, #[path_param] room: Option<String>) {
        drop(room);
    }
}

#[server_endpoint("/parts")]
struct Parts;

impl Parts {
    #[on_message(max_total = 1000)]
    fn part(&self, _part: &str, _last: bool) {}

    #[on_message(max_total = "1MiB")]
    async fn data(&self, _part: Bytes, _last: bool) {}
}

fn main() {}
