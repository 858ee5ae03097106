//! Errors that handlers return keep their type, whatever wraps them; a close reason among them closes the session.

mod support;

use anyhow::Context as _;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{Endpoint, EndpointConfig, MessageHandler};
use support::{Client, Journal, TestServer};

#[derive(Debug, thiserror::Error)]
#[error("own error {0}")]
struct Own(u8);

/// The enum of an application.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("own")]
    Own(#[from] Own),
    #[error("websocket")]
    WebSocket(#[from] Error),
    #[error("io")]
    Io(#[from] std::io::Error),
    #[error("not allowed here")]
    Refused(#[source] CloseReason),
    #[error("other")]
    Other(#[from] anyhow::Error),
}

/// An enum whose variants hide what they contain.
#[derive(Debug, thiserror::Error)]
enum Transparent {
    #[error(transparent)]
    WebSocket(#[from] Error),
    #[error(transparent)]
    Close(#[from] CloseReason),
}

/// A type that fails to encode.
struct Unencodable;

impl endpoint_runtime::Encode for Unencodable {
    fn encode(&self) -> Result<endpoint_runtime::Message, Error> {
        Err(Error::encode("never"))
    }
}

fn unencodable(session: &Session) -> Result<(), Error> {
    session.async_remote().send_object(&Unencodable).map(drop)
}

fn refused() -> CloseReason {
    CloseReason::truncating(CloseCode::Other(4003), "go away")
}

/// What `on_error` sees of an error.
fn seen(error: &Error) -> String {
    let own = error.downcast_ref::<Own>().map(|own| own.0);
    format!("{error} own={own:?} encode={} user={}", error.is_encode(), error.is_user())
}

macro_rules! endpoint {
    ($name:ident, $path:literal, $result:ty, |$session:ident, $line:ident| $body:block) => {
        #[server_endpoint($path)]
        struct $name(Journal);

        impl $name {
            #[on_message]
            async fn fail(&mut self, $line: String, $session: &Session) -> $result $body

            #[on_error]
            fn failed(&mut self, error: &Error, session: &Session) {
                self.0.note(seen(error));
                drop(session.async_remote().send_text("failed"));
            }

            #[on_close]
            fn left(&mut self, reason: CloseReason) {
                self.0.note(format!("left {reason} {:?}", reason.initiator()));
            }
        }
    };
}

endpoint!(WithAnyhow, "/anyhow", anyhow::Result<()>, |session, line| {
    match &*line {
        "own" => Err(Own(1).into()),
        "context" => Err(anyhow::Error::from(Own(2)).context("while testing")),
        "encode" => Ok(unencodable(session)?),
        "encode in context" => unencodable(session).context("while encoding"),
        "text" => Err(anyhow::anyhow!("only a text")),
        "flood" => loop {
            session.basic_remote().send_text("a line that nobody reads").await.context("while flooding")?;
        },
        "close" => Err(refused().into()),
        _ => Err(anyhow::Error::from(refused()).context("no")),
    }
});

endpoint!(WithEyre, "/eyre", Result<Option<String>, eyre::Report>, |session, line| {
    match &*line {
        "own" => Err(Own(1).into()),
        "context" => Err(eyre::Report::from(Own(2)).wrap_err("while testing")),
        "encode" => unencodable(session).map(|()| None).map_err(Into::into),
        "close" => Err(refused().into()),
        _ => Ok(None),
    }
});

endpoint!(WithEnum, "/enum", Result<(), AppError>, |session, line| {
    match &*line {
        "own" => Err(Own(1).into()),
        "encode" => Ok(unencodable(session)?),
        "flood" => loop {
            session.basic_remote().send_text("a line that nobody reads").await?;
        },
        "io" => Err(std::io::Error::other(Error::encode("inside")).into()),
        "anyhow" => Err(anyhow::Error::from(Own(3)).into()),
        _ => Err(AppError::Refused(refused())),
    }
});

endpoint!(WithTransparent, "/transparent", Result<(), Transparent>, |session, line| {
    match &*line {
        "encode" => Ok(unencodable(session)?),
        "flood" => loop {
            session.basic_remote().send_text("a line that nobody reads").await?;
        },
        _ => Err(refused().into()),
    }
});

endpoint!(WithReason, "/reason", Result<String, CloseReason>, |_session, line| {
    if line == "stay" { Ok(line) } else { Err(refused()) }
});

/// Refuses each session as soon as it is open.
#[server_endpoint("/closed-at-once")]
struct ClosedAtOnce(Journal);

impl ClosedAtOnce {
    #[on_open]
    fn open(&mut self) -> Result<(), CloseReason> {
        Err(refused())
    }

    #[on_close]
    fn left(&mut self, reason: CloseReason) {
        self.0.note(format!("left {reason} {:?}", reason.initiator()));
    }
}

/// Its error has a method with the name that generated code might use.
#[derive(Debug, thiserror::Error)]
#[error("named")]
struct Named;

impl Named {
    fn error_kind(&self) -> u8 {
        7
    }

    fn into_error(self) -> u8 {
        self.error_kind()
    }
}

#[server_endpoint("/named")]
#[derive(Default)]
struct WithNamed;

impl WithNamed {
    #[on_message]
    fn fail(&mut self, _: &str) -> Result<u8, Named> {
        if Named.into_error() == 7 { Err(Named) } else { Ok(0) }
    }

    #[on_error]
    fn failed(&mut self, error: &Error) -> anyhow::Result<()> {
        assert!(error.downcast_ref::<Named>().is_some());
        Err(anyhow::Error::from(refused()).context("from on_error"))
    }
}

/// Turns every error into a close reason.
#[server_endpoint("/mapped")]
#[derive(Default)]
struct Mapped;

impl Mapped {
    #[on_message]
    fn fail(&mut self, number: u8) -> Result<(), Own> {
        Err(Own(number))
    }

    #[on_error]
    fn failed(&mut self, error: &Error) -> Result<(), CloseReason> {
        match error.downcast_ref::<Own>() {
            Some(Own(number)) => Err(CloseReason::truncating(CloseCode::Other(4000 + u16::from(*number)), "own")),
            None => Ok(()),
        }
    }
}

/// Without annotations and without `on_error`.
struct Plain;

impl Endpoint for Plain {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_, line: String| -> Result<(), Error> {
            match &*line {
                "report" => Err(Error::report(anyhow::Error::from(refused()).context("no"))),
                _ => Err(Error::user(refused())),
            }
        }))
    }
}

async fn serve() -> (TestServer, Journal) {
    let journal = Journal::default();
    let notes = [(); 6].map(|()| journal.clone());
    let [a, b, c, d, e, f] = notes;
    let container = ServerContainer::builder()
        .endpoint_with(move |_| Ok(WithAnyhow(a.clone())))
        .endpoint_with(move |_| Ok(WithEyre(b.clone())))
        .endpoint_with(move |_| Ok(WithEnum(c.clone())))
        .endpoint_with(move |_| Ok(WithReason(d.clone())))
        .endpoint_with(move |_| Ok(ClosedAtOnce(e.clone())))
        .register::<Mapped>()
        .register::<WithNamed>()
        .endpoint_with(move |_| Ok(WithTransparent(f.clone())))
        .add_endpoint_config(EndpointConfig::new("/plain", || Plain));
    (TestServer::with(container).await, journal)
}

async fn failing(path: &str, cases: &[(&str, &str)]) {
    let (server, journal) = serve().await;
    let mut client = server.connect(path).await;
    for (line, note) in cases {
        client.text(line).await;
        client.expect_text("failed").await;
        assert_eq!(journal.next().await, *note, "{path} {line}");
    }
}

#[tokio::test]
async fn anyhow_keeps_the_type() {
    failing(
        "/anyhow",
        &[
            ("own", "own error 1 own=Some(1) encode=false user=true"),
            ("context", "while testing own=Some(2) encode=false user=true"),
            ("encode", "cannot encode an object: never own=None encode=true user=true"),
            ("encode in context", "while encoding own=None encode=true user=true"),
            ("text", "only a text own=None encode=false user=true"),
        ],
    )
    .await;
}

#[tokio::test]
async fn eyre_keeps_the_type() {
    failing(
        "/eyre",
        &[
            ("own", "own error 1 own=Some(1) encode=false user=true"),
            ("context", "while testing own=Some(2) encode=false user=true"),
            ("encode", "cannot encode an object: never own=None encode=true user=true"),
        ],
    )
    .await;
}

#[tokio::test]
async fn own_enum_keeps_the_type() {
    failing(
        "/enum",
        &[
            ("own", "own own=Some(1) encode=false user=true"),
            ("encode", "websocket own=None encode=true user=true"),
            ("io", "io own=None encode=true user=true"),
            ("anyhow", "other own=Some(3) encode=false user=true"),
        ],
    )
    .await;
}

#[tokio::test]
async fn peer_that_has_gone_is_no_error_whatever_wraps_it() {
    for path in ["/anyhow", "/enum", "/transparent"] {
        let (server, journal) = serve().await;
        let mut client = server.connect(path).await;
        client.text("flood").await;
        client.expect_text("a line that nobody reads").await;
        drop(client);
        let note = journal.next().await;
        assert!(note.starts_with("left 1006"), "{path}: {note}");
        assert_eq!(journal.rest(), [""; 0]);
    }
}

#[tokio::test]
async fn transparent_variant_does_not_hide_an_error_of_ours() {
    failing("/transparent", &[("encode", "cannot encode an object: never own=None encode=true user=true")]).await;
    let (server, journal) = serve().await;
    let mut client = server.connect("/transparent").await;
    client.text("else").await;
    client.expect_text("failed").await;
    client.expect_close(4003).await;
    assert!(journal.next().await.starts_with("4003 go away own=None"));
    assert_eq!(journal.next().await, "left 4003 go away Application");
    // outside a search the chain is what it was
    let error = Error::user(Transparent::from(Error::encode(Own(1))));
    let chain: Vec<_> = std::iter::successors(std::error::Error::source(&error), |error| error.source()).collect();
    assert_eq!(
        chain.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["cannot encode an object: own error 1", "own error 1"]
    );
    assert!(error.is_encode() && error.downcast_ref::<Own>().is_some());
}

#[test]
fn causes_are_printed_on_demand_and_once() {
    let error = Error::report(anyhow::Error::from(Own(1)).context("inner").context("outer"));
    assert_eq!(error.to_string(), "outer");
    assert_eq!(format!("{error:#}"), "outer: inner: own error 1");
    assert_eq!(format!("{error:?}"), "User: outer (inner: own error 1)");
    // one that contains its cause already
    let error = Error::user(Error::encode(Own(2)));
    assert_eq!(format!("{error:#}"), "cannot encode an object: own error 2");
    let error = Error::user(AppError::from(Error::encode(Own(2))));
    assert_eq!(format!("{error:#}"), "websocket: cannot encode an object: own error 2");
}

#[tokio::test]
async fn on_error_closes_with_a_reason_that_its_error_contains() {
    closing("/named", "x", 4003, &[]).await;
}

async fn closing(path: &str, line: &str, code: u16, notes: &[&str]) {
    let (server, journal) = serve().await;
    let mut client: Client = server.connect(path).await;
    if !line.is_empty() {
        client.text(line).await;
    }
    client.expect_close(code).await;
    for note in notes {
        assert_eq!(journal.next().await, *note, "{path} {line}");
    }
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn close_reason_as_an_error_closes_and_is_no_error() {
    let left = "left 4003 go away Application";
    for (path, line) in [("/anyhow", "close"), ("/eyre", "close"), ("/reason", "go"), ("/closed-at-once", "")] {
        closing(path, line, 4003, &[left]).await;
    }
    closing("/plain", "reason", 4003, &[]).await;
    closing("/mapped", "7", 4007, &[]).await;
}

#[tokio::test]
async fn error_with_a_close_reason_is_reported_and_closes() {
    let left = "left 4003 go away Application";
    for (path, note) in [
        ("/anyhow", "no own=None encode=false user=true"),
        ("/enum", "not allowed here own=None encode=false user=true"),
    ] {
        let (server, journal) = serve().await;
        let mut client = server.connect(path).await;
        client.text("else").await;
        client.expect_text("failed").await;
        client.expect_close(4003).await;
        assert_eq!(journal.next().await, note);
        assert_eq!(journal.next().await, left);
    }
    closing("/plain", "report", 4003, &[]).await;
}

#[tokio::test]
async fn session_goes_on_after_a_reply_of_a_handler_that_may_close() {
    let (server, _) = serve().await;
    let mut client = server.connect("/reason").await;
    client.text("stay").await;
    client.expect_text("stay").await;
    client.text("go").await;
    client.expect_close(4003).await;
}
