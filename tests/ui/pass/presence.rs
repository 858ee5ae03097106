//! All forms of the option and of the handler.

use std::time::Duration;

use endpoint_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Away {
    minutes: u32,
}

const GRACE: Duration = Duration::from_secs(5);

#[server_endpoint("/a/{room}", presence)]
#[derive(Default)]
struct A;

impl A {
    #[on_presence]
    fn changed(&self, change: Presence, session: &Session, State(_db): State<u8>, #[path_param] room: &str) {
        let _ = (change.room, session, room);
    }
}

#[server_endpoint("/b", presence = on, instance = shared)]
#[derive(Default)]
struct B;

impl B {
    #[on_presence]
    async fn changed(&self, change: &Presence<Away>, #[query_param] page: Option<u8>) -> Option<Json<usize>> {
        page.map(|_| Json(change.joined.len()))
    }
}

#[server_endpoint("/c", presence(grace = "15s"))]
#[derive(Default)]
struct C;

impl C {
    #[on_presence]
    fn changed(&mut self, change: endpoint_runtime::Presence<Away>) -> Result<Json<Presence<Away>>, Error> {
        Ok(Json(change))
    }
}

#[server_endpoint("/d", presence(grace = GRACE))]
#[derive(Default)]
struct D;

impl D {
    #[on_presence]
    fn changed(&mut self, change: Presence<()>) -> impl Iterator<Item = String> + use<> {
        change.left.into_iter().map(|user| user.name.to_string())
    }
}

// without a handler
#[server_endpoint("/e", presence(grace = off))]
#[derive(Default)]
struct E;

// a message of the application may have the name
#[derive(Deserialize)]
struct Status;

mod domain {
    #[derive(serde::Deserialize)]
    pub struct Presence;

    impl endpoint_runtime::DecodeText for Presence {
        fn decode_text(_: endpoint_runtime::Text) -> Result<Self, endpoint_runtime::Error> {
            Ok(Self)
        }
    }
}

#[server_endpoint("/f")]
#[derive(Default)]
struct F;

impl F {
    #[on_message(text)]
    fn status(&self, presence: domain::Presence) {
        let _ = (presence, Status);
    }
}

fn main() {}
