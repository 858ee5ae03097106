//! Handlers with lifetimes, as the compiler suggests them, and `self` with its type.
#![deny(warnings)]

use endpoint_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Say<'a> {
    #[serde(borrow)]
    line: &'a str,
}

#[server_endpoint("/sync/{room}")]
#[derive(Default)]
struct Sync {
    name: String,
}

impl Sync {
    #[on_open]
    fn open<'a>(&'a mut self, session: &'a Session, #[path_param] room: &'a str) -> Result<(), Error> {
        let _ = (session, room, &self.name);
        Ok(())
    }

    #[on_message]
    fn text<'a>(&self, text: &'a str) -> &'a str {
        text
    }

    #[on_message]
    fn binary<'me, 'b: 'me>(&'me self, data: &'b [u8], #[path_param] room: Option<&'b str>) -> Option<&'me [u8]>
    where
        'b: 'b,
    {
        let _ = (room, &self.name);
        Some(data)
    }

    #[on_message]
    fn pong<'a>(self: &'a Self, pong: &'a Pong) -> Result<&'a str, Error> {
        let _ = pong;
        Ok(&self.name)
    }

    #[on_close]
    fn close<'a>(self: &mut Self, reason: &'a CloseReason, request: &'a HandshakeRequest) {
        let _ = (reason, request);
    }

    #[on_error]
    fn error<'a>(self: &'a mut Sync, error: &'a Error, state: &'a State<u8>) {
        let _ = (error, state);
    }
}

#[server_endpoint("/async/{room}")]
#[derive(Default)]
struct Async {
    name: String,
}

impl Async {
    #[on_open]
    async fn open<'a>(&'a mut self, session: &'a Session, #[path_param] room: &'a str) {
        std::future::ready(()).await;
        let _ = (session, room, &self.name);
    }

    #[on_message]
    async fn text<'a>(&'a self, text: &'a str, session: &'a Session) -> &'a str {
        std::future::ready(()).await;
        let _ = (session, &self.name);
        text
    }

    #[on_message]
    async fn binary<'a>(&'a mut self, size: Bytes, session: &'a Session) -> Result<Option<&'a str>, Error> {
        std::future::ready(()).await;
        let _ = (size, &self.name);
        Ok(session.path_param("room"))
    }

    #[on_message]
    async fn pong(self: &Self, _: &Pong) -> Option<String> {
        None
    }

    #[on_close]
    async fn close<'a>(&self, reason: &'a CloseReason) {
        let _ = reason;
    }
}

#[server_endpoint("/shared", instance = shared)]
#[derive(Default)]
struct Shared;

impl Shared {
    #[on_message]
    fn text<'a>(self: &Self, text: &'a str) -> &'a str {
        text
    }

    #[on_message]
    async fn binary<'a>(&'a self, data: &'a [u8]) -> &'a [u8] {
        data
    }
}

/// A payload that borrows from its message.
#[server_endpoint("/borrowed", events("say", "say.later"))]
#[derive(Default)]
struct Borrowed;

impl Borrowed {
    #[on_message]
    fn text<'a>(&self, Json(say): Json<Say<'a>>) -> Option<Json<Say<'a>>> {
        Some(Json(say))
    }

    #[on_message(binary)]
    async fn binary(&self, say: Json<Say<'_>>) -> usize {
        std::future::ready(()).await;
        say.line.len()
    }

    #[on_message(event = "say")]
    fn say<'a>(&self, say: Json<Say<'a>>) -> Json<Say<'a>> {
        say
    }

    #[on_message(event = "say.later")]
    async fn say_later(&self, say: endpoint_runtime::Event<Say<'_>>, session: &Session) {
        std::future::ready(()).await;
        let _ = (say.data.line, session);
    }
}

#[server_endpoint("/borrowed-later")]
#[derive(Default)]
struct BorrowedLater;

impl BorrowedLater {
    #[on_message]
    async fn text<'a>(&mut self, say: &Json<Say<'a>>, session: &Session) -> String {
        std::future::ready(()).await;
        let _ = session;
        say.line.to_owned()
    }

    #[on_message(binary)]
    fn binary(&self, Json(say): Json<Say<'_>>) -> usize {
        say.line.len()
    }
}

#[client_endpoint]
struct Client;

impl Client {
    #[on_message]
    fn text<'a>(&self, text: &'a str) -> Result<&'a str, std::num::ParseIntError> {
        Ok(text)
    }
}

fn main() {
    let _ = Client;
}
