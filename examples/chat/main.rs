//! A chat with rooms: JSON in, JSON to everyone in the room, for which it is written once.
//!
//! `cargo run --release -p examples --example chat` and open the printed address in two windows.

#[path = "../shared/mod.rs"]
mod shared;

use endpoint_runtime::prelude::*;
use serde::{Deserialize, Serialize};

/// What a page says.
#[derive(Deserialize)]
struct Say {
    message: String,
    name: Option<String>,
}

/// What everybody in the room hears: a `usermsg` of somebody, or a `system` message.
#[derive(Serialize)]
struct Said<'a> {
    r#type: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[server_endpoint("/chat/{room}", max_message_size = "16KiB")]
#[derive(Default)]
struct Chat {
    name: String,
}

impl Chat {
    #[on_open]
    fn enter(&mut self, session: &Session, #[query_param] name: Option<String>) {
        self.name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "一位客人".to_owned());
        tell(session, "system", &format!("{} 进入了聊天室（{} 人在线）", self.name, room(session).len()), None);
    }

    #[on_message]
    fn say(&mut self, say: Json<Say>, session: &Session) {
        if let Some(name) = say.name.as_deref().filter(|name| !name.trim().is_empty()) {
            self.name = name.to_owned();
        }
        tell(session, "usermsg", &say.message, Some(&self.name));
    }

    #[on_close]
    fn leave(&mut self, session: &Session) {
        tell(session, "system", &format!("{} 离开了聊天室（{} 人在线）", self.name, room(session).len()), None);
    }

    // a message that is no such JSON is the affair of who sent it
    #[on_error]
    fn failed(&mut self, error: &Error, session: &Session) -> Result<(), Error> {
        let message = if error.is_decode() { "消息不是约定的 JSON" } else { "服务器出错" };
        tracing::warn!(%error, "in the chat");
        drop(session.async_remote().send_object(&Json(Said { r#type: "system", message, name: None }))?);
        Ok(())
    }
}

/// Who is in the same room.
fn room(session: &Session) -> Vec<Session> {
    let here = session.path_param("room");
    session.open_sessions().iter().filter(|other| other.path_param("room") == here).cloned().collect()
}

/// Sends to everyone in the room; nobody waits for anybody.
fn tell(session: &Session, r#type: &str, message: &str, name: Option<&str>) {
    match serde_json::to_string(&Said { r#type, message, name }).map(Text::from) {
        // a clone of the text is the same octets
        Ok(said) => room(session).iter().for_each(|other| drop(other.async_remote().send_text(said.clone()))),
        Err(error) => tracing::error!(%error, "a message could not be encoded"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addr = shared::addr("chat", "127.0.0.1:3000");
    let server = Server::builder().fallback(shared::pages(include_str!("page.html"))).bind(addr).await?;
    let addr = server.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/chat/lobby");
    server.run_until(shared::asked_to_stop()).await?;
    Ok(())
}
