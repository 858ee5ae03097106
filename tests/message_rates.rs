//! Rates of messages: what counts, and what happens to more.

mod support;

use std::time::{Duration, Instant};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{MessageRate, OverRate};
use support::{BINARY, CLOSE, CONTINUATION, Client, Journal, Log, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::io::AsyncWriteExt;

/// What a peer gets of a rate in the time of a test that is not about the rate itself.
const HARDLY: Rate = Rate::new(1, Duration::from_secs(3600));

macro_rules! echo {
    ($name:ident at $path:literal $(, $($option:tt)*)?) => {
        #[server_endpoint($path $(, $($option)*)?)]
        #[derive(Default)]
        struct $name;

        impl $name {
            #[on_message]
            fn say<'a>(&self, line: &'a str) -> &'a str {
                line
            }

            #[on_error]
            fn error(&self, error: &Error, journal: State<Journal>) {
                journal.note(format!("on_error {} {error}", error.is_rate_limited()));
            }

            #[on_close]
            fn close(&self, reason: CloseReason, journal: State<Journal>) {
                journal.note(format!("on_close {}", reason.code()));
            }
        }
    };
}

echo!(Slow at "/slow", rate(messages = "20/s burst 5", then = slow));
echo!(Unlimited at "/unlimited");
echo!(Drops at "/drops", rate(messages = "3/h", then = drop));
echo!(Errors at "/errors", rate(messages = "3/h", then = error));
echo!(Closes at "/closes", rate(messages = "3/h", then = close));
echo!(Bytes at "/bytes", rate(bytes = "1KiB/h burst 100B", then = drop), compression = on(threshold = "1B"));
echo!(Constant at "/constant", rate = MessageRate::new().messages(HARDLY).then(OverRate::Error));
echo!(Patient at "/patient", rate(messages = "1/s", then = slow), ping_interval = "50ms", pong_timeout = "100ms", idle_timeout = "300ms");

const DROPPED: &str = "on_error true a text message of 1 bytes was dropped: the peer sends more than its rate allows";

async fn serving(configure: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> (TestServer, Journal) {
    let journal = Journal::default();
    (TestServer::with(configure(ServerContainer::builder().state(journal.clone()))).await, journal)
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

// ---- slow ----

#[tokio::test]
async fn slow_handles_every_message_in_order_and_at_the_rate() {
    let (server, journal) = serving(|builder| builder.register::<Slow>()).await;
    let mut client = server.connect("/slow").await;
    let (begun, count) = (Instant::now(), 20);
    let all: Vec<u8> = (0..count).flat_map(|number| frame(0x81, number.to_string().as_bytes())).collect();
    client.send_raw(&all).await;
    for number in 0..count {
        client.expect_text(&number.to_string()).await;
    }
    // the burst of 5, and one every 50 ms
    assert!(begun.elapsed() > Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!(journal.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn slow_stops_reading_so_tcp_slows_the_peer_down_and_others_are_served() {
    let rate = MessageRate::new().bytes(Rate::per_second(1 << 10));
    let (server, _) = serving(|builder| builder.register::<Unlimited>().max_message_size(1 << 20).rate(rate)).await;
    let mut flooding = server.connect("/unlimited").await;
    let message = frame(0x82, &[7; 64 << 10]);
    let mut written = 0;
    let flood = async {
        loop {
            flooding.stream.write_all(&message).await.unwrap();
            written += message.len();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), flood).await.is_err());
    // what the buffers of the kernel hold
    assert!(written < 32 << 20, "{written} bytes");
    let mut other = server.connect("/unlimited").await;
    asked(&mut other, "me", "me").await;
}

#[tokio::test]
async fn time_limits_of_a_silent_peer_do_not_run_during_a_pause() {
    let (server, journal) = serving(|builder| builder.register::<Patient>()).await;
    let mut client = server.connect("/patient").await;
    // the client answers no ping
    client.send_raw(&[frame(0x81, b"1"), frame(0x81, b"2"), frame(0x81, b"3")].concat()).await;
    let (mut heard, begun) = (Vec::new(), Instant::now());
    while heard.len() < 3 {
        let frame = client.frame().await.unwrap();
        assert_ne!(frame.opcode, CLOSE, "after {:?}", begun.elapsed());
        heard.extend((frame.opcode == TEXT).then_some(frame.payload));
    }
    assert_eq!(heard, [b"1", b"2", b"3"]);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    // after the pause the silence counts again
    journal.expect("on_close 1006").await;
}

#[tokio::test]
async fn session_that_is_closed_during_a_pause_ends_at_once() {
    let rate = MessageRate::new().messages(HARDLY);
    let (server, journal) = serving(|builder| builder.register::<Unlimited>().rate(rate)).await;
    let mut client = server.connect("/unlimited").await;
    client.send_raw(&frame(0x81, b"x").repeat(3)).await;
    client.expect_text("x").await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    session.close();
    client.expect_close(1000).await;
    journal.expect("on_close 1000").await;
    let mut second = server.connect("/unlimited").await;
    second.send_raw(&frame(0x81, b"x").repeat(3)).await;
    second.expect_text("x").await;
    server.shutdown().await;
    second.expect_close(1001).await;
    journal.expect("on_close 1006").await;
}

#[server_endpoint("/suspends", rate(messages = "20/s burst 5"))]
#[derive(Default)]
struct Suspends;

impl Suspends {
    #[on_message]
    async fn say(&self, line: String) -> String {
        tokio::time::sleep(Duration::from_millis(1)).await;
        line
    }
}

#[tokio::test]
async fn messages_that_arrived_while_a_handler_ran_wait_as_well() {
    let (server, _) = serving(|builder| builder.register::<Suspends>()).await;
    let mut client = server.connect("/suspends").await;
    let (begun, count) = (Instant::now(), 90);
    let all: Vec<u8> = (0..count).flat_map(|number| frame(0x81, number.to_string().as_bytes())).collect();
    client.send_raw(&all).await;
    for number in 0..25 {
        client.expect_text(&number.to_string()).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(800), "{:?}", begun.elapsed());
}

// ---- drop, error, close ----

#[tokio::test]
async fn drop_drops_and_tells_on_error_once_a_second() {
    let (server, journal) = serving(|builder| builder.register::<Drops>()).await;
    let mut client = server.connect("/drops").await;
    for _ in 0..10 {
        client.text("x").await;
    }
    for _ in 0..3 {
        client.expect_text("x").await;
    }
    client.expect_silence().await;
    journal.expect(DROPPED).await;
    assert_eq!(journal.rest(), Vec::<String>::new());
    tokio::time::sleep(Duration::from_millis(1010)).await;
    client.text("x").await;
    journal.expect(DROPPED).await;
}

#[tokio::test]
async fn error_tells_on_error_of_each_message() {
    let (server, journal) = serving(|builder| builder.register::<Errors>().register::<Constant>()).await;
    let mut client = server.connect("/errors").await;
    for _ in 0..5 {
        client.text("x").await;
    }
    for _ in 0..3 {
        client.expect_text("x").await;
    }
    client.expect_silence().await;
    assert_eq!(journal.rest(), [DROPPED, DROPPED]);
    let mut client = server.connect("/constant").await;
    asked(&mut client, "x", "x").await;
    client.text("x").await;
    journal.expect(DROPPED).await;
}

#[tokio::test]
async fn close_closes_with_1008() {
    let (server, journal) = serving(|builder| builder.register::<Closes>()).await;
    let mut client = server.connect("/closes").await;
    client.send_raw(&frame(0x81, b"x").repeat(9)).await;
    for _ in 0..3 {
        client.expect_text("x").await;
    }
    assert_eq!(client.expect_close(1008).await, "the peer sends more than its rate allows");
    journal.expect("on_error true the peer sends more than its rate allows").await;
    journal.expect("on_close 1008").await;
}

/// Without `on_error`.
#[server_endpoint("/silent")]
#[derive(Default)]
struct Silent;

impl Silent {
    #[on_message]
    fn say<'a>(&self, line: &'a str) -> &'a str {
        line
    }
}

#[tokio::test]
async fn without_on_error_a_dropped_message_is_logged_and_the_session_continues() {
    let log = Log::capture();
    let rate = MessageRate::new().messages(HARDLY).then(OverRate::Error);
    let (server, _) = serving(|builder| builder.register::<Silent>().rate(rate)).await;
    let mut client = server.connect("/silent").await;
    asked(&mut client, "x", "x").await;
    for _ in 0..20 {
        client.text("x").await;
    }
    client.expect_silence().await;
    let lines = log.lines("more than its rate allows").len();
    assert!((1..20).contains(&lines), "{lines} lines");
}

// ---- what counts ----

#[server_endpoint("/deaf", rate(messages = "3/h", then = close))]
#[derive(Default)]
struct Deaf;

#[tokio::test]
async fn messages_that_no_handler_takes_count() {
    let (server, _) = serving(|builder| builder.register::<Deaf>()).await;
    let mut client = server.connect("/deaf").await;
    client.binary(&[1]).await;
    client.text("2").await;
    client.binary(&[3]).await;
    client.text("4").await;
    client.expect_close(1008).await;
}

#[tokio::test]
async fn pings_and_unsolicited_pongs_count() {
    let (server, journal) = serving(|builder| builder.register::<Closes>().register::<Drops>()).await;
    let mut client = server.connect("/closes").await;
    client.send(0x80 | PING, "1").await;
    client.expect(PONG).await;
    client.send(0x80 | PONG, "2").await;
    client.send(0x80 | PING, "3").await;
    client.expect(PONG).await;
    client.send(0x80 | PING, "4").await;
    assert_eq!(client.expect(PONG).await, b"4");
    client.expect_close(1008).await;
    // every ping is answered, also where messages are dropped
    let mut client = server.connect("/drops").await;
    for _ in 0..5 {
        client.expect_silence().await;
    }
    journal.rest();
    client.text("x").await;
    journal.expect(DROPPED).await;
}

#[tokio::test]
async fn answers_to_automatic_pings_do_not_count() {
    let (server, _) =
        serving(|builder| builder.register::<Closes>().ping_interval(Some(Duration::from_millis(20)))).await;
    let mut client = server.connect("/closes").await;
    for _ in 0..10 {
        let ping = client.expect(PING).await;
        client.send(0x80 | PONG, ping).await;
    }
    client.text("x").await;
    let next = loop {
        let frame = client.frame().await.unwrap();
        if frame.opcode != PING {
            break frame;
        }
    };
    assert_eq!((next.opcode, &next.payload[..]), (TEXT, &b"x"[..]));
}

#[tokio::test]
async fn message_larger_than_the_burst_passes_and_is_owed() {
    let (server, journal) = serving(|builder| builder.register::<Bytes>()).await;
    let mut client = server.connect("/bytes").await;
    let long = "y".repeat(1000);
    asked(&mut client, &long, &long).await;
    client.text("x").await;
    journal.expect(DROPPED).await;
}

#[tokio::test]
async fn bytes_of_a_compressed_message_count_after_decompression() {
    use flate2::{Compress, Compression, FlushCompress};
    let (server, journal) = serving(|builder| builder.register::<Bytes>()).await;
    let offer = ["Sec-WebSocket-Extensions: permessage-deflate"];
    let mut client = Client::connect_with(server.addr, "/bytes", &offer).await;
    let mut small = Vec::with_capacity(1024);
    let mut deflater = Compress::new(Compression::best(), false);
    deflater.compress_vec(&[b'y'; 1000], &mut small, FlushCompress::Sync).unwrap();
    small.truncate(small.len() - 4);
    assert!(small.len() < 50, "{} bytes are below the burst", small.len());
    client.send(0xc0 | TEXT, &small).await;
    assert_eq!(soon(client.frame()).await.unwrap().opcode, TEXT);
    client.text("x").await;
    journal.expect(DROPPED).await;
}

#[server_endpoint("/parts", rate(messages = "2/h", bytes = "100B/h", then = error))]
#[derive(Default)]
struct Parts;

impl Parts {
    #[on_message]
    fn part(&self, part: &str, last: bool, journal: State<Journal>) {
        journal.note(format!("part {part} {last}"));
    }

    #[on_message]
    async fn read(&self, mut data: BinaryStream, journal: State<Journal>) {
        let mut size = 0;
        while let Some(Ok(part)) = data.next().await {
            size += part.len();
        }
        journal.note(format!("read {size}"));
    }

    #[on_error]
    fn error(&self, error: &Error, journal: State<Journal>) {
        journal.note(format!("on_error {error}"));
    }
}

#[tokio::test]
async fn message_in_parts_counts_once_and_is_dropped_as_a_whole() {
    let (server, journal) = serving(|builder| builder.register::<Parts>()).await;
    let mut client = server.connect("/parts").await;
    for text in ["a", "b", "c"] {
        client.send(TEXT, text).await;
        client.send(CONTINUATION, text).await;
        client.send(0x80 | PING, "between").await;
        client.expect(PONG).await;
        client.send(0x80 | CONTINUATION, text).await;
    }
    client.expect_silence().await;
    let mut noted = journal.rest();
    let dropped = noted.pop().unwrap();
    // the pings count as messages too
    assert_eq!(noted[..3], ["part a false", "part a false", "part a true"]);
    assert!(dropped.starts_with("on_error a text message of 1 bytes was dropped"), "{dropped}");
    let whole = noted.iter().filter(|line| line.ends_with("true")).count();
    assert_eq!(noted.iter().filter(|line| line.starts_with("part")).count(), 3 * whole, "{noted:?}");
}

#[tokio::test]
async fn bytes_of_a_stream_count_as_they_come() {
    let (server, journal) = serving(|builder| builder.register::<Parts>()).await;
    let mut client = server.connect("/parts").await;
    client.send(BINARY, [1; 50]).await;
    client.send(CONTINUATION, [2; 60]).await;
    client.send(0x80 | CONTINUATION, [3; 70]).await;
    journal.expect("read 180").await;
    client.binary(&[1]).await;
    journal.expect("on_error a binary message of 1 bytes was dropped: the peer sends more than its rate allows").await;
}

#[server_endpoint("/slow_stream", rate(bytes = "100KiB/s", then = slow))]
#[derive(Default)]
struct SlowStream;

impl SlowStream {
    #[on_message]
    async fn read(&self, mut data: BinaryStream) -> usize {
        let mut size = 0;
        while let Some(Ok(part)) = data.next().await {
            size += part.len();
        }
        size
    }
}

#[tokio::test]
async fn slow_pauses_in_the_middle_of_a_stream() {
    let (server, _) = serving(|builder| builder.register::<SlowStream>()).await;
    let mut client = server.connect("/slow_stream").await;
    let begun = Instant::now();
    for number in 0..25 {
        let (first, payload) = (if number == 0 { BINARY } else { CONTINUATION }, [7; 10 << 10]);
        client.send(if number == 24 { 0x80 | first } else { first }, payload).await;
        if number % 5 == 4 {
            // so that the parts do not arrive all at once
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    client.expect_text("256000").await;
    // 100 KiB at once, and 150 KiB at 100 KiB/s; what was read before a pause begins is not paused
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[server_endpoint("/slow_async", rate(messages = "1/h", then = slow))]
#[derive(Default)]
struct SlowAsync;

impl SlowAsync {
    #[on_message]
    async fn say(&self, line: String) -> String {
        tokio::time::sleep(Duration::from_millis(20)).await;
        line
    }
}

#[tokio::test]
async fn messages_before_a_violation_are_handled_although_a_pause_has_begun() {
    let (server, _) = serving(|builder| builder.register::<SlowAsync>()).await;
    let mut client = server.connect("/slow_async").await;
    // the second waits for the first while the frame after it is found to be wrong
    let all: Vec<u8> = [(0x81, "one"), (0x81, "two"), (0x83, "?")]
        .iter()
        .flat_map(|(head, text)| frame(*head, text.as_bytes()))
        .collect();
    client.send_raw(&all).await;
    client.expect_text("one").await;
    client.expect_text("two").await;
    client.expect_close(1002).await;
}

#[server_endpoint("/late_stream", rate(bytes = "1KiB/h", then = error))]
#[derive(Default)]
struct LateStream;

impl LateStream {
    #[on_message]
    async fn read(&self, mut data: BinaryStream) -> usize {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut size = 0;
        while let Some(Ok(part)) = data.next().await {
            size += part.len();
        }
        size
    }

    #[on_error]
    fn error(&self, error: &Error) {
        assert!(error.is_rate_limited());
    }
}

#[tokio::test]
async fn bytes_of_a_stream_that_waited_for_another_handler_count() {
    let (server, _) = serving(|builder| builder.register::<LateStream>()).await;
    let mut client = server.connect("/late_stream").await;
    let mut all = frame(0x82, &[0; 10]);
    all.extend(frame(0x02, &[1]));
    all.extend(frame(0x80, &[2; 2000]));
    client.send_raw(&all).await;
    client.expect_text("10").await;
    client.expect_text("2001").await;
    client.binary(&[3]).await;
    client.expect_silence().await;
    let counts = server.container.stats().endpoints[0].counts;
    assert_eq!(counts.rate_limited, 1);
}

#[server_endpoint("/parts_dropped", rate(messages = "1/h", then = drop))]
#[derive(Default)]
struct PartsDropped;

impl PartsDropped {
    #[on_message]
    fn part(&self, part: &str, last: bool) -> String {
        format!("{part} {last}")
    }
}

#[tokio::test]
async fn message_that_is_dropped_counts_once_whatever_its_parts() {
    let (server, _) = serving(|builder| builder.register::<PartsDropped>()).await;
    let mut client = server.connect("/parts_dropped").await;
    asked(&mut client, "one", "one true").await;
    client.send(TEXT, "a").await;
    client.send(CONTINUATION, "b").await;
    client.send(0x80 | CONTINUATION, "c").await;
    client.expect_silence().await;
    assert_eq!(server.container.stats().endpoints[0].counts.rate_limited, 1);
}

// ---- handlers, endpoints, clients ----

#[server_endpoint("/events", events("search", "say"))]
#[derive(Default)]
struct Events;

impl Events {
    #[on_message(event = "search", rate = "2/h")]
    async fn find(&self) -> Json<&'static str> {
        Json("found")
    }

    #[on_message(event = "say")]
    fn say(&self) -> Json<&'static str> {
        Json("said")
    }

    #[on_message(rate = Rate::new(1, Duration::from_secs(3600)))]
    fn binary(&self, data: &[u8]) -> usize {
        data.len()
    }

    #[on_error]
    fn error(&self, error: &Error, journal: State<Journal>) {
        journal.note(format!("on_error {}", error.is_rate_limited()));
    }
}

#[tokio::test]
async fn handler_has_a_rate_of_its_own() {
    let (server, journal) = serving(|builder| builder.register::<Events>()).await;
    let mut client = server.connect("/events").await;
    for _ in 0..2 {
        asked(&mut client, r#"{"event":"search"}"#, r#"{"event":"search","data":"found"}"#).await;
    }
    client.text(r#"{"event":"search"}"#).await;
    journal.expect("on_error true").await;
    for _ in 0..5 {
        asked(&mut client, r#"{"event":"say"}"#, r#"{"event":"say","data":"said"}"#).await;
    }
    client.binary(&[1; 7]).await;
    client.expect_text("7").await;
    client.binary(&[1; 7]).await;
    journal.expect("on_error true").await;
    // each session on its own
    let mut other = server.connect("/events").await;
    asked(&mut other, r#"{"event":"search"}"#, r#"{"event":"search","data":"found"}"#).await;
}

#[server_endpoint("/both", rate(messages = "1000/s", then = close))]
#[derive(Default)]
struct Both;

impl Both {
    #[on_message(rate = "2/h")]
    async fn say(&self, line: String) -> String {
        line
    }
}

#[tokio::test]
async fn over_the_rate_of_a_handler_happens_what_the_endpoint_says() {
    let (server, _) = serving(|builder| builder.register::<Both>()).await;
    let mut client = server.connect("/both").await;
    asked(&mut client, "1", "1").await;
    asked(&mut client, "2", "2").await;
    client.text("3").await;
    client.expect_close(1008).await;
}

struct Scripted;

impl Endpoint for Scripted {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_, line: String| line))
    }

    async fn on_error(&mut self, session: &Session, error: Error) -> Result<(), Error> {
        session.basic_remote().send_text(format!("limited {}", error.is_rate_limited())).await
    }
}

#[tokio::test]
async fn endpoint_without_annotations_has_a_rate_and_overrides_that_of_the_container() {
    let own = EndpointConfig::new("/own", || Scripted).rate(MessageRate::new().messages(HARDLY).then(OverRate::Error));
    let (server, _) = serving(|builder| {
        let two = MessageRate::new().messages(HARDLY.burst(2)).then(OverRate::Close);
        builder.add_endpoint_config(own).add_endpoint("/default", || Scripted).rate(two)
    })
    .await;
    let mut client = server.connect("/own").await;
    asked(&mut client, "1", "1").await;
    asked(&mut client, "2", "limited true").await;
    let mut client = server.connect("/default").await;
    asked(&mut client, "1", "1").await;
    asked(&mut client, "2", "2").await;
    client.text("3").await;
    client.expect_text("limited true").await;
    client.expect_close(1008).await;
}

/// With the default `on_error`.
struct Unheeding;

impl Endpoint for Unheeding {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_, line: String| line))
    }
}

#[tokio::test]
async fn endpoint_without_annotations_and_on_error_goes_on_or_ends_with_1008() {
    let config =
        |path, then| EndpointConfig::new(path, || Unheeding).rate(MessageRate::new().messages(HARDLY).then(then));
    let (server, _) = serving(|builder| {
        let builder = builder.add_endpoint_config(config("/error", OverRate::Error));
        builder.add_endpoint_config(config("/close", OverRate::Close))
    })
    .await;
    let mut client = server.connect("/error").await;
    asked(&mut client, "1", "1").await;
    client.text("2").await;
    client.expect_silence().await;
    let mut client = server.connect("/close").await;
    asked(&mut client, "1", "1").await;
    client.text("2").await;
    client.expect_close(1008).await;
}

#[test]
fn rate_that_is_set_twice_is_a_mistake() {
    let rate = MessageRate::new().messages(HARDLY);
    let twice = EndpointConfig::new("/twice", || Scripted).rate(rate).rate(rate);
    let error = ServerContainer::builder().add_endpoint_config(twice).rate(rate).rate(rate).build().unwrap_err();
    assert_eq!(error.to_string().matches("`rate` is set twice").count(), 2, "{error}");
}

#[client_endpoint]
struct Bot(Journal);

impl Bot {
    #[on_message(rate = "1/h")]
    fn take(&self, line: &str) {
        self.0.note(line);
    }

    #[on_error]
    fn error(&self, error: &Error) {
        self.0.note(format!("on_error {}", error.is_rate_limited()));
    }
}

#[tokio::test]
async fn handler_of_a_client_has_a_rate_too() {
    let (server, _) = serving(|builder| builder.register::<Unlimited>()).await;
    let journal = Journal::default();
    let uri = format!("ws://{}/unlimited", server.addr);
    let session = ClientContainer::new().connect(Bot(journal.clone()), &uri).await.unwrap();
    session.basic_remote().send_text("1").await.unwrap();
    journal.expect("1").await;
    session.basic_remote().send_text("2").await.unwrap();
    journal.expect("on_error true").await;
}
