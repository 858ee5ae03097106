//! Several replies to one message, and a greeting: streams and iterators whose items are sent one by one.

mod support;

use std::pin::Pin;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use serde::Serialize;
use support::{Client, Journal, TestServer, soon};

#[derive(Serialize)]
struct Count {
    number: u32,
}

#[derive(Debug)]
struct Odd;

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("odd")
    }
}

impl std::error::Error for Odd {}

macro_rules! endpoint {
    ($name:ident, $path:literal, $($method:tt)*) => {
        #[server_endpoint($path)]
        #[derive(Default)]
        struct $name;

        impl $name {
            #[on_message]
            $($method)*

            #[on_error]
            fn failed(&mut self, error: &Error, session: &Session) {
                drop(session.async_remote().send_text(format!("failed: {error}")));
            }
        }
    };
}

endpoint!(
    Sync,
    "/sync",
    fn f(&mut self, count: u32) -> impl Stream<Item = String> {
        stream::iter(0..count).map(|number| number.to_string())
    }
);
endpoint!(
    Async,
    "/async",
    async fn f(&mut self, count: u32) -> impl Stream<Item = Json<Count>> {
        tokio::task::yield_now().await;
        stream::iter(0..count).map(|number| Json(Count { number }))
    }
);
endpoint!(
    Boxed,
    "/boxed",
    fn f(&mut self, count: u32) -> BoxStream<'static, u32> {
        stream::iter(0..count).boxed()
    }
);
endpoint!(
    Pinned,
    "/pinned",
    async fn f(&mut self, count: u32) -> Pin<Box<dyn Stream<Item = u32> + Send>> {
        stream::iter(0..count).boxed()
    }
);
endpoint!(
    List,
    "/list",
    fn f(&mut self, count: u32) -> impl Iterator<Item = u32> {
        0..count
    }
);
endpoint!(
    Vector,
    "/vector",
    async fn f(&mut self, count: u32) -> impl Iterator<Item = Json<Count>> {
        let all: Vec<_> = (0..count).map(|number| Json(Count { number })).collect();
        all.into_iter()
    }
);
endpoint!(
    Optional,
    "/optional",
    fn f(&mut self, count: u32) -> Option<impl Stream<Item = u32>> {
        (count > 0).then(|| stream::iter(0..count))
    }
);
endpoint!(
    Fallible,
    "/fallible",
    fn f(&mut self, count: u32) -> Result<impl Stream<Item = Result<u32, Odd>>, Odd> {
        if count == 1 {
            return Err(Odd);
        }
        Ok(stream::iter(0..count).map(|number| if number == 3 { Err(Odd) } else { Ok(number) }))
    }
);
endpoint!(
    Skips,
    "/skips",
    fn f(&mut self, count: u32) -> impl Iterator<Item = Option<u32>> {
        (0..count).map(|number| (number % 2 == 0).then_some(number))
    }
);
endpoint!(
    Borrows,
    "/borrows",
    fn f(&mut self, line: &str) -> impl Iterator<Item = String> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        words.into_iter()
    }
);

endpoint!(
    Owned,
    "/owned",
    fn f(&mut self, count: u32) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }
);
endpoint!(
    Objects,
    "/objects",
    async fn f(&mut self, count: u32) -> Result<Vec<Json<Count>>, Odd> {
        Ok((0..count).map(|number| Json(Count { number })).collect())
    }
);
endpoint!(
    Array,
    "/array",
    fn f(&mut self, count: u32) -> [u32; 3] {
        [0, 1, count - 1]
    }
);
endpoint!(
    Mixed,
    "/mixed",
    fn f(&mut self, count: u32) -> Option<Vec<Result<u32, Odd>>> {
        Some((0..count).map(|number| if number == 2 { Err(Odd) } else { Ok(number) }).collect())
    }
);
endpoint!(
    Bytes,
    "/bytes",
    fn f(&mut self, count: u32) -> Vec<u8> {
        vec![7; count as usize]
    }
);

/// A `#[on_open]` that greets, in each form.
#[server_endpoint("/greets")]
#[derive(Default)]
struct Greets;

impl Greets {
    #[on_open]
    fn open(&mut self, session: &Session) -> String {
        drop(session.async_remote().send_text("first"));
        "welcome".to_owned()
    }

    #[on_message]
    fn echo(&mut self, line: String) -> String {
        line
    }
}

#[server_endpoint("/greets-with-several")]
#[derive(Default)]
struct GreetsWithSeveral;

impl GreetsWithSeveral {
    #[on_open]
    async fn open(&mut self, #[query_param] count: u32) -> Result<impl Stream<Item = u32>, CloseReason> {
        if count == 0 { Err(CloseReason::from(CloseCode::ViolatedPolicy)) } else { Ok(stream::iter(0..count)) }
    }

    #[on_message]
    fn echo(&mut self, line: String) -> String {
        line
    }
}

#[server_endpoint("/greets-with-json")]
#[derive(Default)]
struct GreetsWithJson;

impl GreetsWithJson {
    #[on_open]
    fn open(&mut self) -> Option<Json<Count>> {
        Some(Json(Count { number: 7 }))
    }
}

struct Dropped(Journal);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

/// Length of a reply of the endless stream: enough of them fill a queue soon.
const SIZE: usize = 1000;

/// A stream without an end.
#[server_endpoint("/endless")]
struct Endless(Journal);

impl Endless {
    #[on_message]
    fn begin(&mut self, line: &str) -> impl Stream<Item = String> + use<> {
        let (dropped, quiet) = (Dropped(self.0.clone()), line == "quiet");
        stream::unfold((0u64, dropped), move |(number, dropped)| async move {
            if quiet && number == 1 {
                std::future::pending::<()>().await;
            }
            Some((format!("{number:0SIZE$}"), (number + 1, dropped)))
        })
    }

    #[on_error]
    fn failed(&mut self, error: &Error) {
        self.0.note(format!("failed: {error}"));
    }

    #[on_close]
    fn leave(&mut self) {
        self.0.note("left");
    }
}

async fn serve() -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().discover().endpoint_with(move |_| Ok(Endless(own.clone())));
    (TestServer::with(container).await, journal)
}

async fn replies(path: &str, message: &str, expected: &[&str]) {
    let (server, _) = serve().await;
    let mut client = server.connect(path).await;
    client.text(message).await;
    // the next message is handled after them
    client.text(message).await;
    for reply in expected.iter().chain(expected) {
        client.expect_text(reply).await;
    }
}

#[tokio::test]
async fn each_item_is_a_reply() {
    for path in ["/sync", "/boxed", "/pinned", "/list", "/optional"] {
        replies(path, "3", &["0", "1", "2"]).await;
    }
    for path in ["/owned", "/array"] {
        replies(path, "3", &["0", "1", "2"]).await;
    }
    for path in ["/async", "/vector", "/objects"] {
        replies(path, "2", &[r#"{"number":0}"#, r#"{"number":1}"#]).await;
    }
    replies("/skips", "4", &["0", "2"]).await;
    replies("/borrows", "a b c", &["a", "b", "c"]).await;
}

#[tokio::test]
async fn error_ends_the_replies_and_is_reported() {
    replies("/fallible", "5", &["0", "1", "2", "failed: odd"]).await;
    replies("/fallible", "1", &["failed: odd"]).await;
    replies("/fallible", "2", &["0", "1"]).await;
    replies("/mixed", "4", &["0", "1", "failed: odd"]).await;
}

#[tokio::test]
async fn empty_stream_sends_nothing() {
    let (server, _) = serve().await;
    for path in ["/sync", "/list", "/optional"] {
        let mut client = server.connect(path).await;
        client.text("0").await;
        client.text("1").await;
        client.expect_text("0").await;
    }
}

#[tokio::test]
async fn bytes_are_one_message() {
    let (server, _) = serve().await;
    let mut client = server.connect("/bytes").await;
    client.text("3").await;
    assert_eq!(client.expect(support::BINARY).await, [7, 7, 7]);
}

#[tokio::test]
async fn greeting_comes_before_the_first_reply() {
    let (server, _) = serve().await;
    let mut client = server.connect("/greets").await;
    client.text("echo").await;
    for line in ["first", "welcome", "echo"] {
        client.expect_text(line).await;
    }
    let mut client = server.connect("/greets-with-several?count=3").await;
    client.text("echo").await;
    for line in ["0", "1", "2", "echo"] {
        client.expect_text(line).await;
    }
    server.connect("/greets-with-json").await.expect_text(r#"{"number":7}"#).await;
    server.connect("/greets-with-several?count=0").await.expect_close(1008).await;
}

#[tokio::test]
async fn peer_that_does_not_read_holds_the_stream_back() {
    let (server, _) = serve().await;
    let mut client: Client = server.connect("/endless").await;
    client.text("go").await;
    let container = server.container.clone();
    // the socket is full, and the stream is not asked for more than a batch
    soon(async {
        let mut before = usize::MAX;
        loop {
            let queued = container.sessions().iter().next().unwrap().queued_bytes();
            if queued > SIZE && queued == before {
                break;
            }
            before = queued;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(container.sessions().iter().next().unwrap().queued_bytes() < 1 << 17);
    for number in 0..10_000 {
        client.expect_text(&format!("{number:0SIZE$}")).await;
    }
}

#[tokio::test]
async fn stream_is_dropped_when_the_session_ends() {
    for (how, message) in [
        ("closes", "quiet"),
        ("vanishes", "quiet"),
        ("vanishes", "busy"),
        ("is closed", "quiet"),
        ("is closed", "busy"),
    ] {
        let (server, journal) = serve().await;
        let mut client = server.connect("/endless").await;
        client.text(message).await;
        client.expect_text(&format!("{:0SIZE$}", 0)).await;
        match how {
            "closes" => client.close(1000, "").await,
            "vanishes" => drop(client),
            _ => server.container.sessions().iter().for_each(Session::close),
        }
        assert_eq!(journal.next().await, "dropped", "{how} {message}");
        assert_eq!(journal.next().await, "left", "{how} {message}");
    }
}
