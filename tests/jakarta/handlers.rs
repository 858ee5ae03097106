//! Area H: message handlers that are added and removed while a session is open. (In detail: `tests/programmatic.rs`.)

use endpoint_runtime::prelude::*;
use endpoint_runtime::{DecodeBinary, DecodeText, Endpoint, MessageHandler, MessageKind};

use crate::Step::{Binary as Data, BinaryFragments, Fragments, Hear, HearBinary, Pong as Answer, Silence, Text as Say};
use crate::support::TestServer;
use crate::{Row, play};

/// A list of words, separated by spaces.
struct Words(Vec<String>);

impl DecodeText for Words {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(Self(text.split(' ').map(str::to_owned).collect()))
    }
}

impl DecodeBinary for Words {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Self::decode_text(Text::from(String::from_utf8_lossy(&data).into_owned()))
    }
}

/// Adds the handlers that the query names, in their order.
struct Adding;

impl Endpoint for Adding {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        for name in session.query_string().unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
            match name {
                "remove-text" => drop(session.remove_message_handler(MessageKind::Text)),
                name => {
                    let before = session.message_handlers().len();
                    let added = session.add_message_handler(handler(name));
                    if let Err(error) = added {
                        assert_eq!(session.message_handlers().len(), before);
                        session.basic_remote().send_text(format!("refused: {}", error.is_duplicate_handler())).await?;
                    }
                }
            }
        }
        session.basic_remote().send_text(format!("{} handlers", session.message_handlers().len())).await
    }
}

fn handler(name: &str) -> MessageHandler {
    match name {
        "string" => MessageHandler::text(|_, text: String| format!("string {text}")),
        "second" => MessageHandler::text(|_, text: String| format!("second {text}")),
        "words" => MessageHandler::text(|_, words: Words| words.0.len()),
        "parts" => MessageHandler::text_parts(|_, part, last| format!("{part}({last})")),
        "bytes" => MessageHandler::binary(|_, data: Vec<u8>| data),
        "binary-words" => MessageHandler::binary(|_, words: Words| words.0.len()),
        "binary-parts" => MessageHandler::binary_parts(|_, part, last| [&part[..], &[u8::from(last)]].concat()),
        "pong" => MessageHandler::pong(|_, pong: Pong| String::from_utf8_lossy(pong.data()).into_owned()),
        other => panic!("no handler {other}"),
    }
}

#[tokio::test]
async fn handlers_are_added_one_of_each_kind() {
    let container = ServerContainer::builder().add_endpoint("/h", || Adding);
    let (none, one, three) = (Hear("0 handlers"), Hear("1 handlers"), Hear("3 handlers"));
    let refused = Hear("refused: true");
    let rows: &[Row<'_>] = &[
        ("H none", "/h", &[none, Say("x"), Silence]),
        ("H Whole<String>", "/h?string", &[one, Say("x"), Hear("string x"), Silence]),
        ("H Whole<T> with Decoder.Text", "/h?words", &[one, Say("a b c"), Hear("3"), Silence]),
        ("H Partial<String>", "/h?parts", &[one, Fragments("A", "B"), Hear("A(false)"), Hear("B(true)"), Silence]),
        ("H Whole<byte[]>", "/h?bytes", &[one, Data(&[1, 2]), HearBinary(&[1, 2]), Silence]),
        ("H Whole<T> with Decoder.Binary", "/h?binary-words", &[one, Data(b"a b c"), Hear("3"), Silence]),
        (
            "H Partial<ByteBuffer>",
            "/h?binary-parts",
            &[one, BinaryFragments(&[7], &[8]), HearBinary(&[7, 0]), HearBinary(&[8, 1]), Silence],
        ),
        ("H Whole<PongMessage>", "/h?pong", &[one, Answer("x"), Hear("x"), Silence]),
        (
            "H one of each",
            "/h?string,bytes,pong",
            &[three, Say("x"), Hear("string x"), Data(&[1]), HearBinary(&[1]), Answer("x"), Hear("x"), Silence],
        ),
        (
            "H a second of a kind is refused, and the first goes on",
            "/h?string,second",
            &[refused, one, Say("x"), Hear("string x"), Silence],
        ),
        ("H parts are of the same kind", "/h?string,parts", &[refused, one, Say("x"), Hear("string x"), Silence]),
        ("H removed", "/h?string,remove-text", &[none, Say("x"), Silence]),
        ("H removed and replaced", "/h?string,remove-text,second", &[one, Say("x"), Hear("second x"), Silence]),
    ];
    play(&TestServer::with(container).await, rows).await;
}

/// Text by annotation.
#[server_endpoint("/mixed")]
#[derive(Default)]
struct Mixed;

impl Mixed {
    #[on_open]
    async fn open(&mut self, session: &Session) -> Result<(), Error> {
        let second = session.add_message_handler(handler("second")).is_err();
        session.add_message_handler(handler("bytes"))?;
        session.basic_remote().send_text(format!("second refused: {second}")).await
    }

    #[on_message]
    fn text(&self, message: String) -> String {
        format!("annotated {message}")
    }
}

#[tokio::test]
async fn handlers_are_added_beside_annotated_ones_for_other_kinds() {
    let rows: &[Row<'_>] = &[(
        "H on an annotated endpoint",
        "/mixed",
        &[Hear("second refused: true"), Say("x"), Hear("annotated x"), Data(&[1]), HearBinary(&[1]), Silence],
    )];
    play(&TestServer::of::<Mixed>().await, rows).await;
}
