//! A chat with rooms: JSON in, JSON to everyone in the room, encoded once.
//!
//! `cargo run --release -p examples --example chat` and open the printed address in two windows.

#[path = "../shared/mod.rs"]
mod shared;

use endpoint_runtime::prelude::*;
use serde::{Deserialize, Serialize};
use shared::Lang;

/// A message from a page.
#[derive(Deserialize)]
struct Say {
    message: String,
    name: Option<String>,
}

/// A message to everyone in the room: a `usermsg` from somebody, or a `system` message.
#[derive(Serialize)]
struct Said<'a> {
    r#type: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// A system message in English and in Chinese, for pages that show the other language than the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    both: Option<&'a [String; 2]>,
}

#[server_endpoint("/chat/{room}", max_message_size = "16KiB")]
#[derive(Default)]
struct Chat {
    name: String,
}

impl Chat {
    #[on_open]
    fn enter(
        &mut self,
        session: &Session,
        lang: State<Lang>,
        #[path_param] room: &str,
        #[query_param] name: Option<String>,
    ) -> Result<(), Error> {
        let guest = lang.pick("a guest", "一位客人");
        self.name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| guest.to_owned());
        session.join(room);
        self.announce(session, *lang, room, ["entered the room", "进入了聊天室"])
    }

    #[on_message]
    fn say(&mut self, say: Json<Say>, session: &Session, #[path_param] room: &str) -> Result<(), Error> {
        if let Some(name) = say.name.as_deref().filter(|name| !name.trim().is_empty()) {
            self.name = name.to_owned();
        }
        let said = Said { r#type: "usermsg", message: &say.message, name: Some(&self.name), both: None };
        session.room(room).async_remote().send_object(&Json(said)).map(drop)
    }

    // the session has left its rooms by now
    #[on_close]
    fn leave(&mut self, session: &Session, lang: State<Lang>, #[path_param] room: &str) -> Result<(), Error> {
        self.announce(session, *lang, room, ["left the room", "离开了聊天室"])
    }

    // only the sender learns that a message was not the agreed JSON
    #[on_error]
    fn failed(&mut self, error: &Error, session: &Session, lang: State<Lang>) -> Result<(), Error> {
        tracing::warn!(%error, "in the chat");
        let both = if error.is_decode() {
            ["the message is not valid JSON for this chat", "消息不是约定的 JSON"]
        } else {
            ["internal server error", "服务器出错"]
        }
        .map(str::to_owned);
        drop(session.async_remote().send_object(&Json(system(*lang, &both)))?);
        Ok(())
    }

    /// Sends to everyone in the room; no member waits for another.
    fn announce(&self, session: &Session, lang: Lang, room: &str, [english, chinese]: [&str; 2]) -> Result<(), Error> {
        let room = session.room(room);
        let (name, count) = (&self.name, room.len());
        let both = [format!("{name} {english} ({count} online)"), format!("{name} {chinese}（{count} 人在线）")];
        room.async_remote().send_object(&Json(system(lang, &both))).map(drop)
    }
}

fn system(lang: Lang, both: &[String; 2]) -> Said<'_> {
    Said { r#type: "system", message: lang.pick(&both[0], &both[1]), name: None, both: Some(both) }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("chat", "127.0.0.1:3000", &mut []);
    let pages = shared::pages(include_str!("page.html"), lang);
    let server = Server::builder().state(lang).fallback(pages).bind(addr).await?;
    let addr = server.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/chat/lobby");
    server.run_until(shared::stop_signal()).await?;
    Ok(())
}
