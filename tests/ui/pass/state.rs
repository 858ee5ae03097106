//! State in every handler, by value and by reference, in an ordinary `fn` and in an `async fn`.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

struct Db;
type Map = std::collections::HashMap<String, Vec<u8>>;

#[server_endpoint("/chat/{room}")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    async fn open(&mut self, db: State<Db>, map: &State<Map>, session: &Session, again: State<Db>) {
        std::future::ready(()).await;
        let _ = (&*db, map.len(), session.state::<Db>().is_some(), again);
    }
    #[on_message]
    fn text(&self, State { .. }: State<Db>, text: &str) -> Option<&str> {
        let _ = text;
        None
    }
    #[on_message]
    async fn binary(&self, data: Vec<u8>, db: &endpoint_runtime::State<Db>) -> Option<Vec<u8>> {
        std::future::ready(()).await;
        let _ = db;
        Some(data)
    }
    #[on_message]
    async fn pong(&self, pong: &Pong, db: State<Box<dyn Fn() + Send + Sync>>) {
        std::future::ready(()).await;
        db();
        let _ = pong;
    }
    #[on_close]
    fn close(&self, db: &State<Db>) {
        let _ = db;
    }
    #[on_error]
    fn r#failed(&self, error: Error, db: State<(Db, u8)>) {
        let _ = (error, db.1);
    }
}

/// The pattern binds what is in the state.
mod pattern {
    use std::sync::Arc;

    use endpoint_runtime::prelude::*;

    use super::Db;

    struct Counts(u8, u8);

    #[server_endpoint("/pattern/{room}")]
    #[derive(Default)]
    struct Pattern;

    impl Pattern {
        #[on_open]
        fn open(&self, State(db): State<Db>, State(mut counts): endpoint_runtime::State<Counts>) {
            let db: Arc<Db> = db;
            let _ = (db, counts.0 + counts.1, Arc::get_mut(&mut counts));
        }
        #[on_message]
        async fn text(&mut self, State(db): &State<Db>, text: String, State(_): State<Counts>) -> String {
            std::future::ready(()).await;
            let db: &Arc<Db> = db;
            let _ = db;
            text
        }
        #[on_message]
        async fn binary<'a>(&'a self, data: &'a [u8], endpoint_runtime::State(_db): State<Db>) -> &'a [u8] {
            data
        }
        #[on_close]
        fn close(
            &self,
            #[path_param("room")] Room(room): Room,
            #[query_param("page")] Page { number }: Page,
            State(_counts): State<Counts>,
        ) {
            let _ = (room, number);
        }
    }

    struct Room(u8);
    struct Page {
        number: u8,
    }

    impl std::str::FromStr for Room {
        type Err = std::num::ParseIntError;
        fn from_str(text: &str) -> Result<Self, Self::Err> {
            text.parse().map(Self)
        }
    }

    impl std::str::FromStr for Page {
        type Err = std::num::ParseIntError;
        fn from_str(text: &str) -> Result<Self, Self::Err> {
            text.parse().map(|number| Self { number })
        }
    }
}

/// Without the type in angle brackets it may be anything.
mod own {
    use endpoint_runtime::{DecodeText, prelude::*};

    pub struct State;

    impl DecodeText for State {
        fn decode_text(_: Text) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    #[server_endpoint("/own")]
    struct Own;

    impl Own {
        #[on_message(text)]
        fn text(&self, _: State) {}
    }
}

fn main() {}
