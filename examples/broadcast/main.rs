//! Broadcasting and listening: a task that is no handler pushes the time, quotes and scores. Each topic is a room, and
//! every page chooses which it joins. Quotes and scores are invented.
//!
//! `cargo run --release -p examples --example broadcast` and open the printed address in several windows.

#[path = "../shared/mod.rs"]
mod shared;

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use endpoint_runtime::prelude::*;
use serde::{Deserialize, Serialize};

const TOPICS: [&str; 3] = ["time", "quotes", "scores"];

/// The topics that a page listens to from now on.
#[derive(Deserialize)]
struct Listen {
    listen: Vec<String>,
}

/// A name in English and in Chinese.
type Name = [&'static str; 2];

#[derive(Serialize)]
struct News<'a, T> {
    topic: &'a str,
    news: &'a T,
    listeners: usize,
}

#[derive(Serialize)]
struct Quote {
    name: Name,
    /// In hundredths.
    price: i64,
    change: i64,
}

#[derive(Serialize)]
struct Game {
    home: Name,
    guests: Name,
    minute: u32,
    score: [u32; 2],
}

#[server_endpoint("/listen", max_message_size = "1KiB")]
#[derive(Default)]
struct Listener;

impl Listener {
    #[on_message]
    fn choose(&self, listen: Json<Listen>, session: &Session) {
        for topic in TOPICS {
            if listen.listen.iter().any(|listened| listened == topic) {
                session.join(topic);
            } else {
                session.leave(topic);
            }
        }
    }
}

/// Sends to everyone in the room of the topic: encoded once, and no listener waits for another.
fn broadcast<T: Serialize>(container: &ServerContainer, topic: &str, news: &T) {
    let room = container.room(topic);
    let sent = room.async_remote().send_object(&Json(News { topic, news, listeners: room.len() }));
    if let Err(error) = sent {
        tracing::error!(%error, topic, "cannot encode the update");
    }
}

/// Makes the news, for ever.
async fn world(container: ServerContainer) -> Infallible {
    let quote = |name, price| Quote { name, price, change: 0 };
    let mut quotes = [
        quote(["Yangtze Cable", "长江电缆"], 1230),
        quote(["Huangshan Tea", "黄山茶业"], 4805),
        quote(["Taishan Heavy Industries", "泰山重工"], 766),
        quote(["West Lake Software", "西湖软件"], 10390),
    ];
    let game = |home, guests| Game { home, guests, minute: 0, score: [0, 0] };
    let mut games = [game(["Reds", "红队"], ["Blues", "蓝队"]), game(["East Side", "东城"], ["West Side", "西城"])];
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        broadcast(&container, "time", &now);

        for quote in &mut quotes {
            let step = rand::random_range(-9..=9) * quote.price / 1000;
            (quote.price, quote.change) = ((quote.price + step).max(100), step);
        }
        broadcast(&container, "quotes", &quotes);

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
        broadcast(&container, "scores", &games);
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("broadcast", "127.0.0.1:8080", &mut []);
    let server = Server::builder().fallback(shared::pages(include_str!("page.html"), lang)).bind(addr).await?;
    let (addr, container) = (server.local_addr()?, server.container().clone());
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/listen");
    tokio::select! {
        ended = server.run_until(shared::stop_signal()) => ended.map(drop),
        never = world(container) => match never {},
    }
}
