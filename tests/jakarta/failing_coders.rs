//! Area D: decoders and encoders that fail. Whoever called learns of it; the session stays open, and `on_error` can still
//! send on it.

use endpoint_runtime::prelude::*;
use endpoint_runtime::{DecodeBinary, DecodeText, Encode, Message, ServerContainer};

use crate::Step::{Binary, Hear, Silence, Text as Say};
use crate::support::TestServer;
use crate::{Row, play};

const CAUSE: &str = "the coder will not";

/// What neither decodes nor encodes.
#[derive(Debug)]
struct Stubborn;

impl DecodeText for Stubborn {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Err(Error::decode(Message::Text(text), CAUSE))
    }
}

impl DecodeBinary for Stubborn {
    fn decode_binary(data: endpoint_runtime::Binary) -> Result<Self, Error> {
        Err(Error::decode(Message::Binary(data), std::io::Error::other(CAUSE)))
    }
}

impl Encode for Stubborn {
    fn encode(&self) -> Result<Message, Error> {
        Err(Error::encode(CAUSE))
    }
}

/// The last cause of an error.
fn last_cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[server_endpoint("/decode")]
#[derive(Default)]
struct Decoding;

impl Decoding {
    #[on_message(text)]
    fn text(&self, _message: Stubborn) {
        panic!("there is no such message");
    }

    #[on_message(binary)]
    async fn binary(&self, _message: Stubborn) {
        panic!("there is no such message");
    }

    #[on_error]
    async fn failed(&mut self, session: &Session, error: &Error) -> Result<(), Error> {
        let kept = (error.text().map(str::to_owned), error.bytes().map(<[u8]>::to_vec));
        let line = format!("decode {} {kept:?}: {}", error.is_decode(), last_cause(error));
        session.basic_remote().send_text(line).await
    }
}

#[server_endpoint("/encode")]
#[derive(Default)]
struct Encoding;

impl Encoding {
    #[on_message]
    async fn text(&self, how: String, session: &Session) -> Result<Option<Stubborn>, Error> {
        match how.as_str() {
            "rethrow" => session.basic_remote().send_object(&Stubborn).await?,
            "rethrow of the async remote" => drop(session.async_remote().send_object(&Stubborn)?),
            "rethrow of a broadcast" => drop(session.open_sessions().async_remote().send_object(&Stubborn)?),
            "keep" => {
                let error = session.basic_remote().send_object(&Stubborn).await.unwrap_err();
                session.basic_remote().send_text(format!("reported to the caller: {}", error.is_encode())).await?;
            }
            "return" => return Ok(Some(Stubborn)),
            _ => session.basic_remote().send_text(how).await?,
        }
        Ok(None)
    }

    #[on_error]
    async fn failed(&mut self, session: Session, error: Error) -> Result<(), Error> {
        session.basic_remote().send_text(format!("encode {}: {}", error.is_encode(), last_cause(&error))).await
    }
}

#[tokio::test]
async fn failure_reaches_on_error_with_its_cause_and_the_session_continues() {
    let expected = Hear("encode true: the coder will not");
    let rows: &[Row<'_>] = &[
        (
            "D decoder of text, WSC-5.2.2-1",
            "/decode",
            &[
                Say("x"),
                Hear("decode true (Some(\"x\"), None): the coder will not"),
                Say("y"),
                Hear("decode true (Some(\"y\"), None): the coder will not"),
                Silence,
            ],
        ),
        (
            "D decoder of binary data that throws an IOException",
            "/decode",
            &[Binary(&[7]), Hear("decode true (None, Some([7])): the coder will not"), Silence],
        ),
        ("D encoder, rethrown from sendObject", "/encode", &[Say("rethrow"), expected, Say("on"), Hear("on"), Silence]),
        ("D encoder, asynchronous", "/encode", &[Say("rethrow of the async remote"), expected, Say("on"), Hear("on")]),
        ("D encoder, to all", "/encode", &[Say("rethrow of a broadcast"), expected, Say("on"), Hear("on")]),
        (
            "D encoder, the caller gets it first, WSC-5.2.3-1",
            "/encode",
            &[Say("keep"), Hear("reported to the caller: true"), Silence],
        ),
        ("D encoder of a returned value", "/encode", &[Say("return"), expected, Say("on"), Hear("on"), Silence]),
    ];
    play(&TestServer::with(ServerContainer::builder().register::<Decoding>().register::<Encoding>()).await, rows).await;
}
