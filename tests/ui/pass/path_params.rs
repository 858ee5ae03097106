#![deny(warnings)]

use std::net::IpAddr;
use std::str::FromStr;

use endpoint_runtime::prelude::*;

struct Room(String);

impl FromStr for Room {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

#[server_endpoint("/chat/{room}/{user}/{type}/")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    async fn open(
        &mut self,
        #[path_param] room: Room,
        #[path_param("user")] id: u64,
        session: &Session,
        #[path_param] r#type: &str,
        #[path_param] missing: Option<IpAddr>,
        #[path_param("absent")] other: Option<&str>,
        #[path_param("user")] maybe: Option<u64>,
    ) {
        std::future::ready(()).await;
        let _ = (room.0, id, session, r#type, missing, other, maybe);
    }
    #[on_message]
    fn text(&self, #[path_param] room: &str, text: &str, #[path_param("type")] _: String) {
        let _ = (room, text);
    }
    #[on_message]
    async fn binary(&self, #[path_param] user: f32, data: Vec<u8>, #[path_param("room")] mut name: String) {
        name.clear();
        let _ = (user, data);
    }
    #[on_message]
    async fn pong(&self, pong: &Pong, #[path_param] user: u8) {
        let _ = (pong, user);
    }
    #[on_close]
    fn close(&self, #[path_param] user: u8, reason: CloseReason) {
        let _ = (user, reason);
    }
    #[on_error]
    fn failed(&self, error: &Error, #[path_param] user: u8, _: Session) {
        let _ = (user, error);
    }
}

fn main() {}
