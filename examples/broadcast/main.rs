//! Broadcasting and listening: the time, quotes and scores are pushed by a task that is no handler, and every page
//! chooses what it listens to. Quotes and scores are invented.
//!
//! `cargo run --release -p examples --example broadcast` and open the printed address in several windows.

#[path = "../shared/mod.rs"]
mod shared;

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use endpoint_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Topic {
    Time,
    Quotes,
    Scores,
}

/// What a session listens to: said by its page, kept in the session's properties.
#[derive(Clone, Deserialize)]
struct Listen {
    listen: Vec<Topic>,
}

#[derive(Serialize)]
struct News<'a, T> {
    topic: Topic,
    news: &'a T,
    listeners: usize,
}

#[derive(Serialize)]
struct Quote {
    name: &'static str,
    /// In hundredths.
    price: i64,
    change: i64,
}

#[derive(Serialize)]
struct Game {
    home: &'static str,
    guests: &'static str,
    minute: u32,
    score: [u32; 2],
}

#[server_endpoint("/listen", max_message_size = "1KiB")]
#[derive(Default)]
struct Listener;

impl Listener {
    #[on_message]
    fn choose(&self, listen: Json<Listen>, session: &Session) {
        session.properties().insert(listen.into_inner());
    }
}

/// Tells those who listen to the topic; nobody waits for anybody.
fn broadcast<T: Serialize>(container: &ServerContainer, topic: Topic, news: &T) {
    let listens =
        |session: &&Session| session.properties().with(|Listen { listen }| listen.contains(&topic)).unwrap_or_default();
    let sessions = container.sessions();
    let listeners: Vec<&Session> = sessions.iter().filter(listens).collect();
    match serde_json::to_string(&News { topic, news, listeners: listeners.len() }).map(Text::from) {
        // a clone of the text is the same octets
        Ok(text) => listeners.iter().for_each(|session| drop(session.async_remote().send_text(text.clone()))),
        Err(error) => tracing::error!(%error, "news could not be encoded"),
    }
}

/// What happens in the world, for ever.
async fn world(container: ServerContainer) -> Infallible {
    let quote = |name, price| Quote { name, price, change: 0 };
    let mut quotes =
        [quote("长江电缆", 1230), quote("黄山茶业", 4805), quote("泰山重工", 766), quote("西湖软件", 10390)];
    let game = |home, guests| Game { home, guests, minute: 0, score: [0, 0] };
    let mut games = [game("红队", "蓝队"), game("东城", "西城")];
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        broadcast(&container, Topic::Time, &now);

        for quote in &mut quotes {
            let step = rand::random_range(-9..=9) * quote.price / 1000;
            (quote.price, quote.change) = ((quote.price + step).max(100), step);
        }
        broadcast(&container, Topic::Quotes, &quotes);

        for game in &mut games {
            // a minute of the game is a second here
            game.minute = game.minute % 90 + 1;
            if game.minute == 1 {
                game.score = [0, 0];
            }
            if rand::random_ratio(1, 15) {
                game.score[rand::random_range(0..2)] += 1;
            }
        }
        broadcast(&container, Topic::Scores, &games);
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addr = shared::addr("broadcast", "127.0.0.1:8080");
    let server = Server::builder().fallback(shared::pages(include_str!("page.html"))).bind(addr).await?;
    let (addr, container) = (server.local_addr()?, server.container().clone());
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/listen");
    tokio::select! {
        ended = server.run_until(shared::asked_to_stop()) => ended.map(drop),
        never = world(container) => match never {},
    }
}
