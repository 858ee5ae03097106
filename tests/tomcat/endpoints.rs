//! The endpoints that our server serves. Endpoints.java has the same ones in Java, in the same order.

use std::collections::{HashMap, VecDeque};
use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{BoxError, ContainerBuilder, DecodeText, Encode, Message};
use tokio::sync::Notify;

// ---- what handlers saw, for a second connection to ask ----

/// The notes of each script, and who waits for one.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<String, Arc<Of>>>);

#[derive(Default)]
struct Of(Mutex<VecDeque<String>>, Notify);

impl Kept {
    fn of(&self, script: &str) -> Arc<Of> {
        self.0.lock().unwrap().entry(script.to_owned()).or_default().clone()
    }

    fn add(&self, script: &str, note: impl Into<String>) {
        let of = self.of(script);
        of.0.lock().unwrap().push_back(note.into());
        of.1.notify_one();
    }

    fn close(&self, script: &str, reason: &CloseReason) {
        self.add(script, format!("close {} {}", reason.code(), reason.reason()));
    }

    fn error(&self, script: &str, error: &Error) {
        // what a panic said stands in the error, what a handler returned behind it
        let text = [Some(error.to_string()), error.source().map(ToString::to_string)];
        let text = text.iter().flatten().find_map(|text| text.find("so: ").map(|at| &text[at..]));
        let note = match text {
            _ if error.is_decode() => "error of decoding".to_owned(),
            _ if error.is_encode() => "error of encoding".to_owned(),
            Some(text) if error.is_user() || error.is_panic() => format!("error of the application, {text}"),
            _ => "error of the container".to_owned(),
        };
        self.add(script, note);
    }
}

#[server_endpoint("/notes/{script}")]
#[derive(Default)]
pub struct Notes;

impl Notes {
    #[on_message]
    async fn next(&self, wanted: u64, #[path_param] script: String, kept: State<Kept>) -> String {
        let of = kept.of(&script);
        let next = async {
            loop {
                let note = of.0.lock().unwrap().pop_front();
                match note {
                    Some(note) => return note,
                    None => of.1.notified().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_millis(wanted), next).await.unwrap_or_else(|_| "nothing more".to_owned())
    }
}

/// Notes all that happens but messages; or only the events that are named.
macro_rules! noting {
    ($type:ty) => {
        noting!($type: open close error);
    };
    ($type:ty: $($event:ident)+) => {
        impl $type {
            $(noting!(@ $event);)+
        }
    };
    (@ open) => {
        #[on_open]
        fn open(&self, #[path_param] script: String, kept: State<Kept>) {
            kept.add(&script, "open");
        }
    };
    (@ close) => {
        #[on_close]
        fn close(&self, reason: CloseReason, #[path_param] script: String, kept: State<Kept>) {
            kept.close(&script, &reason);
        }
    };
    (@ error) => {
        #[on_error]
        fn error(&self, error: &Error, #[path_param] script: String, kept: State<Kept>) {
            kept.error(&script, error);
        }
    };
}

// ---- messages ----

#[server_endpoint("/echo/{script}")]
#[derive(Default)]
pub struct Echo;
noting!(Echo);

impl Echo {
    #[on_message(max_size = 131_072)]
    fn text(&self, message: String) -> String {
        message
    }

    #[on_message(max_size = 131_072)]
    fn binary(&self, data: Bytes) -> Bytes {
        data
    }
}

/// Tomcat needs no switch for compression; ours does.
#[server_endpoint("/compressed/{script}", compression = on)]
#[derive(Default)]
pub struct Compressed;
noting!(Compressed);

impl Compressed {
    #[on_message(max_size = 131_072)]
    fn text(&self, message: String) -> String {
        message
    }
}

/// Tomcat takes contexts over where nobody objects; ours where it is told to.
#[server_endpoint("/keeping/{script}", compression = on(context_takeover = true))]
#[derive(Default)]
pub struct Keeping;
noting!(Keeping);

impl Keeping {
    #[on_message(max_size = 131_072)]
    fn text(&self, message: String) -> String {
        message
    }
}

/// Text and binary, and nothing that is told of errors.
#[server_endpoint("/bare/{script}")]
#[derive(Default)]
pub struct Bare;
noting!(Bare: open close);

impl Bare {
    #[on_message]
    async fn text(&self, message: String) -> String {
        message
    }

    #[on_message]
    async fn binary(&self, data: Bytes) -> Bytes {
        data
    }
}

/// Text alone, with no limit of its own.
#[server_endpoint("/text/{script}")]
#[derive(Default)]
pub struct TextAlone;
noting!(TextAlone);

impl TextAlone {
    #[on_message]
    fn text(&self, message: String) -> String {
        message
    }
}

#[server_endpoint("/parts/{script}")]
#[derive(Default)]
pub struct Parts;
noting!(Parts);

impl Parts {
    #[on_message]
    fn text(&self, part: &str, last: bool) -> String {
        format!("{part}({last})")
    }

    #[on_message]
    fn binary(&self, part: &[u8], last: bool) -> Vec<u8> {
        [part, format!("({last})").as_bytes()].concat()
    }
}

#[server_endpoint("/five/{script}")]
#[derive(Default)]
pub struct Five;
noting!(Five);

impl Five {
    #[on_message(max_size = 5)]
    fn text(&self, message: String) -> String {
        message
    }

    #[on_message(max_size = 5)]
    fn binary(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }
}

/// Binary for text, text for binary, and sometimes nothing.
#[server_endpoint("/other/{script}")]
#[derive(Default)]
pub struct Other;
noting!(Other);

impl Other {
    #[on_message]
    fn text(&self, message: String) -> Option<Vec<u8>> {
        (message != "nothing").then(|| message.into_bytes())
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Option<String> {
        (data.len() != 1).then(|| String::from_utf8_lossy(data).into_owned())
    }
}

#[server_endpoint("/pongs/{script}")]
#[derive(Default)]
pub struct Pongs;
noting!(Pongs);

impl Pongs {
    #[on_message]
    fn pong(&self, pong: Pong) -> String {
        format!("pong {}", String::from_utf8_lossy(pong.data()))
    }

    #[on_message]
    async fn text(&self, message: String, session: &Session) -> Option<&'static str> {
        let (word, data) = message.split_once(' ')?;
        let sent = match word {
            "ping" => session.basic_remote().send_ping(data).await,
            _ => session.basic_remote().send_pong(data).await,
        };
        sent.is_err().then_some("refused")
    }
}

// ---- values ----

/// An endpoint that gives back the value it takes.
macro_rules! value {
    ($name:ident, $value:ty, $path:literal) => {
        #[server_endpoint($path)]
        #[derive(Default)]
        pub struct $name;
        noting!($name);

        impl $name {
            #[on_message(text)]
            fn value(&self, value: $value) -> $value {
                value
            }
        }
    };
}

value!(ByteValue, i8, "/byte/{script}");
value!(ShortValue, i16, "/short/{script}");
value!(IntValue, i32, "/int/{script}");
value!(LongValue, i64, "/long/{script}");
value!(FloatValue, f32, "/float/{script}");
value!(DoubleValue, f64, "/double/{script}");
value!(BooleanValue, bool, "/boolean/{script}");
value!(CharValue, char, "/char/{script}");

pub struct Point {
    x: i32,
    y: i32,
}

impl DecodeText for Point {
    fn decode_text(text: Text) -> Result<Self, Error> {
        let parts = text.split_once(',').ok_or("no comma".to_owned());
        let number = |part: &str| part.parse::<i32>().map_err(|error| error.to_string());
        match parts.and_then(|(x, y)| Ok(Self { x: number(x)?, y: number(y)? })) {
            Ok(point) => Ok(point),
            Err(why) => Err(Error::decode(text, why)),
        }
    }
}

/// There are no points with x = 13.
impl Encode for Point {
    fn encode(&self) -> Result<Message, Error> {
        if self.x == 13 {
            return Err(Error::encode("an unlucky point"));
        }
        Ok(Text::from(format!("{},{}", self.x, self.y)).into())
    }
}

/// Mirrors points; for binary, sends one that can be sent and one that cannot.
#[server_endpoint("/points/{script}")]
#[derive(Default)]
pub struct Points;
noting!(Points);

impl Points {
    #[on_message(text)]
    fn text(&self, point: Point) -> Point {
        Point { x: point.y, y: point.x }
    }

    #[on_message(binary)]
    async fn binary(&self, _data: &[u8], session: &Session) -> Result<&'static str, Error> {
        session.basic_remote().send_object(&Point { x: 3, y: 4 }).await?;
        let refused = session.basic_remote().send_object(&Point { x: 13, y: 4 }).await.is_err();
        Ok(if refused { "refused" } else { "sent" })
    }
}

// ---- the request ----

#[server_endpoint("/params/{script}/{number}/{flag}")]
#[derive(Default)]
pub struct Params;
noting!(Params);

impl Params {
    #[on_message]
    fn text(&self, message: String, #[path_param] number: i32, #[path_param] flag: bool) -> String {
        format!("{message} {number} {flag}")
    }
}

#[server_endpoint("/word/{script}/{word}")]
#[derive(Default)]
pub struct Word;
noting!(Word);

impl Word {
    #[on_message]
    fn text(&self, message: String, #[path_param] word: String) -> String {
        format!("{message} {word}")
    }
}

#[server_endpoint("/request/{script}", subprotocols("chat.v2", "chat.v1"))]
#[derive(Default)]
pub struct Request;
noting!(Request);

impl Request {
    #[on_message]
    fn text(&self, what: String, session: &Session) -> String {
        let none = || "none".to_owned();
        match what.as_str() {
            "uri" => session.uri().to_owned(),
            "query" => session.query_string().map_or_else(none, str::to_owned),
            "version" => session.protocol_version().to_owned(),
            "subprotocol" => session.subprotocol().map_or_else(none, str::to_owned),
            "secure" => session.is_secure().to_string(),
            "path" => {
                let mut names: Vec<&str> = session.path_params().iter().map(|(name, _)| name).collect();
                names.sort_unstable();
                names.join(" ")
            }
            _ => {
                let values: Vec<_> =
                    session.query_params().filter(|(name, _)| *name == what).map(|(_, value)| value).collect();
                if values.is_empty() { none() } else { values.join(", ") }
            }
        }
    }
}

#[server_endpoint("/match/a")]
#[derive(Default)]
pub struct MatchA;

impl MatchA {
    #[on_message(text)]
    fn text(&self, _message: &str) -> &'static str {
        "/a"
    }
}

#[server_endpoint("/match/{x}")]
#[derive(Default)]
pub struct MatchX;

impl MatchX {
    #[on_message]
    fn text(&self, _message: &str, #[path_param] x: String) -> String {
        format!("/{{x}} x={x}")
    }
}

#[server_endpoint("/match/a/c")]
#[derive(Default)]
pub struct MatchAc;

impl MatchAc {
    #[on_message]
    fn text(&self, _message: &str) -> &'static str {
        "/a/c"
    }
}

#[server_endpoint("/match/a/{y}")]
#[derive(Default)]
pub struct MatchAy;

impl MatchAy {
    #[on_message]
    fn text(&self, _message: &str, #[path_param] y: String) -> String {
        format!("/a/{{y}} y={y}")
    }
}

#[server_endpoint("/match/{x}/c")]
#[derive(Default)]
pub struct MatchXc;

impl MatchXc {
    #[on_message]
    fn text(&self, _message: &str, #[path_param] x: String) -> String {
        format!("/{{x}}/c x={x}")
    }
}

#[server_endpoint("/match/{x}/{y}")]
#[derive(Default)]
pub struct MatchXy;

impl MatchXy {
    #[on_message]
    fn text(&self, _message: &str, #[path_param] x: String, #[path_param] y: String) -> String {
        format!("/{{x}}/{{y}} x={x} y={y}")
    }
}

// ---- sending ----

#[server_endpoint("/sends/{script}")]
#[derive(Default)]
pub struct Sends;
noting!(Sends);

impl Sends {
    #[on_message]
    async fn text(&self, what: String, session: &Session) -> Result<Option<&'static str>, Error> {
        let (remote, queue) = (session.basic_remote(), session.async_remote());
        match what.as_str() {
            "basic" => {
                remote.send_text("one").await?;
                session.basic_remote().send_binary([2]).await?;
                return Ok(Some("three"));
            }
            "async" => {
                queue.send_text("one").await?;
                session.async_remote().send_text("two").await?;
                return Ok(Some("three"));
            }
            "objects" => {
                remote.send_object(&-100_i8).await?;
                session.basic_remote().send_object(&-101_i16).await?;
                session.basic_remote().send_object(&-102_i32).await?;
                session.basic_remote().send_object(&-103_i64).await?;
                session.basic_remote().send_object(&false).await?;
                session.basic_remote().send_object(&'j').await?;
            }
            "floats" => {
                remote.send_object(&-104.5_f32).await?;
                session.basic_remote().send_object(&-105.0_f64).await?;
            }
            // what Java must ask for is the ordinary way here
            "batch" => {
                queue.send_text("one").queued()?;
                session.async_remote().send_text("two").queued()?;
            }
            _ => {
                queue.send_text("one").queued()?;
                session.async_remote().send_text("two").queued()?;
                session.close();
            }
        }
        Ok(None)
    }
}

#[server_endpoint("/welcome/{script}")]
#[derive(Default)]
pub struct Welcome;
noting!(Welcome: error);

impl Welcome {
    #[on_open]
    async fn open(&self, session: &Session, #[path_param] script: String, kept: State<Kept>) -> Result<(), Error> {
        kept.add(&script, "open");
        session.basic_remote().send_text("welcome").await
    }

    #[on_message]
    fn text(&self, message: String) -> String {
        message
    }

    #[on_close]
    async fn close(&self, session: &Session, reason: CloseReason, #[path_param] script: String, kept: State<Kept>) {
        kept.add(&script, if session.is_open() { "open in on_close" } else { "not open in on_close" });
        match session.basic_remote().send_text("farewell").await {
            Ok(()) => kept.add(&script, "sent"),
            Err(_) => kept.add(&script, "refused"),
        }
        kept.close(&script, &reason);
    }
}

#[server_endpoint("/all/{script}")]
#[derive(Default)]
pub struct All;
noting!(All);

impl All {
    #[on_message]
    fn text(&self, message: String, session: &Session) {
        session.open_sessions().async_remote().send_text(message);
    }

    #[on_message(binary)]
    fn count(&self, _data: &[u8], session: &Session) -> String {
        session.open_sessions().len().to_string()
    }
}

#[server_endpoint("/properties/{script}")]
#[derive(Default)]
pub struct Properties;
noting!(Properties);

impl Properties {
    #[on_message]
    fn text(&self, message: String, session: &Session) -> String {
        session.properties().insert(message).unwrap_or_else(|| "none".to_owned())
    }
}

// ---- ends ----

#[server_endpoint("/close/{script}")]
#[derive(Default)]
pub struct Close;
noting!(Close);

impl Close {
    #[on_message]
    fn text(&self, message: String, session: &Session) -> Option<&'static str> {
        let (code, phrase) = message.split_once(' ').unwrap_or((&message, ""));
        if code == "plain" {
            session.close();
            return None;
        }
        let code = code.parse::<u16>().ok().map(CloseCode::from);
        let Some(Ok(reason)) = code.map(|code| CloseReason::new(code, phrase)) else { return Some("refused") };
        session.close_with(reason);
        None
    }
}

/// Closes, then closes otherwise, then says something.
#[server_endpoint("/returns/{script}")]
#[derive(Default)]
pub struct Returns;
noting!(Returns);

impl Returns {
    #[on_message]
    fn text(
        &self,
        message: String,
        session: &Session,
        #[path_param] script: String,
        kept: State<Kept>,
    ) -> Result<String, Error> {
        session.close_with(CloseReason::new(CloseCode::from(4001), "so: first")?);
        session.close_with(CloseReason::new(CloseCode::from(4002), "so: second")?);
        kept.add(
            &script,
            if session.is_open() { "still open in its handler" } else { "no longer open in its handler" },
        );
        Ok(message)
    }
}

#[server_endpoint("/idle/{script}")]
#[derive(Default)]
pub struct Idle;
noting!(Idle: close error);

impl Idle {
    #[on_open]
    fn open(&self, session: &Session, #[path_param] script: String, kept: State<Kept>) {
        kept.add(&script, "open");
        session.set_idle_timeout(Some(Duration::from_millis(200)));
    }
}

fn unless_told_to_fail(message: String) -> Result<String, BoxError> {
    if message == "fail" { Err("so: it fails".into()) } else { Ok(message) }
}

#[server_endpoint("/fails/{script}")]
#[derive(Default)]
pub struct Fails;
noting!(Fails);

impl Fails {
    #[on_message]
    fn text(&self, message: String) -> Result<String, BoxError> {
        unless_told_to_fail(message)
    }
}

/// As before, without an error handler.
#[server_endpoint("/failsalone/{script}")]
#[derive(Default)]
pub struct FailsAlone;
noting!(FailsAlone: open close);

impl FailsAlone {
    #[on_message]
    fn text(&self, message: String) -> Result<String, BoxError> {
        unless_told_to_fail(message)
    }

    #[on_message(binary)]
    fn binary(&self, _data: &[u8]) -> &'static str {
        "binary"
    }
}

#[server_endpoint("/intalone/{script}")]
#[derive(Default)]
pub struct IntAlone;
noting!(IntAlone: open close);

impl IntAlone {
    #[on_message]
    fn value(&self, value: i32) -> i32 {
        value
    }
}

/// A panic here, an AssertionError there.
#[server_endpoint("/panics/{script}")]
#[derive(Default)]
pub struct Panics;
noting!(Panics);

impl Panics {
    #[on_message(text)]
    fn text(&self, _message: String) -> String {
        panic!("so: it panics")
    }
}

#[server_endpoint("/failsopen/{script}")]
#[derive(Default)]
pub struct FailsOpen;
noting!(FailsOpen: close error);

impl FailsOpen {
    #[on_open]
    fn open(&self, #[path_param] script: String, kept: State<Kept>) -> Result<(), BoxError> {
        kept.add(&script, "open");
        Err("so: it does not open".into())
    }

    #[on_message]
    fn text(&self, message: String) -> String {
        message
    }
}

#[server_endpoint("/failsclose/{script}")]
#[derive(Default)]
pub struct FailsClose;
noting!(FailsClose: open error);

impl FailsClose {
    #[on_close]
    fn close(&self, reason: CloseReason, #[path_param] script: String, kept: State<Kept>) -> Result<(), BoxError> {
        kept.close(&script, &reason);
        Err("so: it does not close".into())
    }
}

#[server_endpoint("/failserror/{script}")]
#[derive(Default)]
pub struct FailsError;
noting!(FailsError: open close);

impl FailsError {
    #[on_message]
    fn text(&self, message: String) -> Result<String, BoxError> {
        unless_told_to_fail(message)
    }

    #[on_error]
    fn error(&self, error: &Error, #[path_param] script: String, kept: State<Kept>) -> Result<(), BoxError> {
        kept.error(&script, error);
        Err("so: it fails at failing".into())
    }
}

/// All of them.
pub fn container() -> ContainerBuilder {
    // the scripts give names of their own to a server on loopback
    ServerContainer::builder().discover().state(Kept::default()).allowed_hosts(["*"])
}
