//! Coders of streams: messages that are decoded while they come, objects that are written piece by piece.

mod support;

use std::fmt::Write as _;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    BinaryDecoder, BinaryStreamDecoder, BinaryStreamEncoder, ServerContainer, TextStreamDecoder, TextStreamEncoder,
};
use support::{BINARY, CONTINUATION, Client, Journal, TEXT, TestServer};

/// How much a message was, and what was at its ends.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    bytes: usize,
    first: u8,
    last: u8,
}

#[derive(Default)]
struct Summing {
    journal: Option<Journal>,
    sum: Option<Sum>,
}

impl Summing {
    fn init(&mut self, session: &Session) {
        self.journal = session.state::<Journal>().map(|journal| (**journal).clone());
    }

    fn note(&self, what: impl Into<String>) {
        if let Some(journal) = &self.journal {
            journal.note(what);
        }
    }

    fn begin(&mut self) {
        self.sum = None;
        self.note("begin");
    }

    fn push(&mut self, part: &[u8]) -> Result<(), Error> {
        if part.contains(&b'!') {
            self.note("push fails");
            return Err(Error::user("it is too loud"));
        }
        if part.contains(&b'*') {
            panic!("a star");
        }
        // what comes may be cut in any way
        if part.len() < 100 && !part.is_empty() {
            self.note(format!("push {}", String::from_utf8_lossy(part)));
        }
        let Some(&[first]) = part.get(..1).map(<&[u8; 1]>::try_from).transpose().unwrap() else { return Ok(()) };
        let sum = self.sum.get_or_insert(Sum { bytes: 0, first, last: 0 });
        sum.bytes += part.len();
        sum.last = *part.last().unwrap();
        Ok(())
    }

    fn finish(&mut self) -> Result<Sum, Error> {
        self.note("finish");
        self.sum.take().ok_or_else(|| Error::decode("", "there was nothing"))
    }
}

macro_rules! decoder {
    ($name:ident: $trait:ident of $part:ty) => {
        #[derive(Default)]
        struct $name(Summing);
        impl $trait for $name {
            type Object = Sum;
            fn init(&mut self, session: &Session) {
                self.0.init(session);
            }
            fn begin(&mut self) {
                self.0.begin();
            }
            fn push(&mut self, part: &$part) -> Result<(), Error> {
                self.0.push(part.as_ref())
            }
            fn finish(&mut self) -> Result<Sum, Error> {
                self.0.finish()
            }
            fn destroy(&mut self) {
                self.0.note("destroy");
            }
        }
    };
}
decoder!(OfText: TextStreamDecoder of str);
decoder!(OfBinary: BinaryStreamDecoder of [u8]);

macro_rules! encoder {
    ($name:ident: $trait:ident into $buffer:ty) => {
        #[derive(Default)]
        struct $name;
        impl $trait for $name {
            type Object = Sum;
            fn encode(&mut self, sum: &Sum, buffer: &mut $buffer) -> Result<(), Error> {
                let mut text = String::new();
                write!(text, "{} from {} ", sum.bytes, char::from(sum.first)).unwrap();
                write!(text, "to {}", char::from(sum.last)).unwrap();
                if sum.first == b'?' {
                    return Err(Error::encode("nobody asks"));
                }
                buffer.extend([text].into_iter().flat_map(<$buffer as Pieces>::pieces));
                Ok(())
            }
        }
    };
}

/// What a buffer is extended by.
trait Pieces {
    type Piece;
    fn pieces(text: String) -> Vec<Self::Piece>;
}
impl Pieces for String {
    type Piece = char;
    fn pieces(text: String) -> Vec<char> {
        text.chars().collect()
    }
}
impl Pieces for Vec<u8> {
    type Piece = u8;
    fn pieces(text: String) -> Vec<u8> {
        text.into_bytes()
    }
}
encoder!(ToText: TextStreamEncoder into String);
encoder!(ToBinary: BinaryStreamEncoder into Vec<u8>);

macro_rules! fails {
    ($name:ident) => {
        impl $name {
            #[on_error]
            async fn failed(&self, error: &Error, session: &Session) {
                let _ = session.basic_remote().send_text(format!("on_error: {error}")).await;
            }
        }
    };
}

#[server_endpoint("/later", decoders(OfText, OfBinary), encoders(ToText), max_message_size = "1MiB")]
#[derive(Default)]
struct Later;
fails!(Later);
impl Later {
    #[on_message(text)]
    async fn text(&mut self, sum: Sum) -> Sum {
        // while this is suspended what comes is put aside
        tokio::task::yield_now().await;
        sum
    }
    #[on_message(binary, max_size = "2MiB")]
    async fn binary(&mut self, sum: Sum, session: &Session) -> Result<(), Error> {
        session.basic_remote().send_text(format!("{sum:?}")).await
    }
}

#[server_endpoint("/now", decoders(OfBinary, OfText), encoders(ToBinary), max_message_size = "1MiB")]
#[derive(Default)]
struct Now;
fails!(Now);
impl Now {
    #[on_message(text)]
    fn text(&mut self, sum: &Sum) -> Option<Sum> {
        Some(Sum { ..*sum })
    }
    #[on_message(binary)]
    fn binary(&mut self, sum: Sum) -> Sum {
        sum
    }
}

async fn serve(journal: &Journal) -> TestServer {
    let container = ServerContainer::builder().register::<Later>().register::<Now>().register::<Mixed>();
    TestServer::with(container.state(journal.clone())).await
}

async fn answer(client: &mut Client) -> String {
    String::from_utf8(client.frame().await.unwrap().payload).unwrap()
}

#[tokio::test]
async fn a_message_is_decoded_while_it_comes() {
    for path in ["/later", "/now"] {
        let journal = Journal::default();
        let server = serve(&journal).await;
        let mut client = server.connect(path).await;
        client.send(TEXT, "ab").await;
        journal.expect("begin").await;
        journal.expect("push ab").await;
        // the decoder has the first part before there is a second
        client.send(CONTINUATION, "cd").await;
        journal.expect("push cd").await;
        client.send(0x80 | CONTINUATION, "").await;
        journal.expect("finish").await;
        assert_eq!(answer(&mut client).await, "4 from a to d", "{path}");
        client.text("x").await;
        assert_eq!(answer(&mut client).await, "1 from x to x", "{path}");
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
        let rest = journal.rest();
        assert_eq!(rest[..3], ["begin", "push x", "finish"]);
        // one of each kind
        assert_eq!(rest[rest.len() - 2..], ["destroy", "destroy"], "{rest:?}");
    }
}

#[tokio::test]
async fn messages_that_come_at_once_are_decoded_one_by_one() {
    let server = serve(&Journal::default()).await;
    for path in ["/later", "/now"] {
        let mut client = server.connect(path).await;
        let mut all = Vec::new();
        for size in 1..200usize {
            let text = "é".repeat(size);
            all.extend(support::frame(TEXT, &text.as_bytes()[..size / 2]));
            all.extend(support::frame(0x80 | CONTINUATION, &text.as_bytes()[size / 2..]));
        }
        client.send_raw(&all).await;
        for size in 1..200usize {
            let text = answer(&mut client).await;
            assert!(text.starts_with(&format!("{} from ", 2 * size)), "{path} {size}: {text}");
        }
    }
}

#[tokio::test]
async fn the_limit_is_on_the_whole_message_and_is_allowed_itself() {
    let server = serve(&Journal::default()).await;
    for (path, opcode, limit) in [("/later", TEXT, 1 << 20), ("/later", BINARY, 2 << 20), ("/now", BINARY, 1 << 20)] {
        for over in [0, 1] {
            let mut client = server.connect(path).await;
            let payload = vec![b'a'; limit + over];
            client.send(opcode, &payload[..limit / 2]).await;
            client.send(0x80 | CONTINUATION, &payload[limit / 2..]).await;
            if over == 0 {
                let text = answer(&mut client).await;
                assert!(text.contains(&limit.to_string()), "{path}: {text}");
            } else {
                let text = answer(&mut client).await;
                assert!(text.ends_with(&format!("exceeds the limit of {limit}")), "{path}: {text}");
                client.expect_close(1009).await;
            }
        }
    }
}

#[tokio::test]
async fn decoder_error_is_reported_immediately_and_the_rest_of_the_message_dropped() {
    for path in ["/later", "/now"] {
        let journal = Journal::default();
        let server = serve(&journal).await;
        let mut client = server.connect(path).await;
        client.send(TEXT, "a").await;
        client.send(CONTINUATION, "b!").await;
        client.expect_text("on_error: it is too loud").await;
        client.send(CONTINUATION, "c!").await;
        client.send(0x80 | CONTINUATION, "d").await;
        client.expect_silence().await;
        // in the last part, and at the end
        client.text("e!").await;
        client.expect_text("on_error: it is too loud").await;
        client.text("").await;
        client.expect_text("on_error: the text message \"\" cannot be decoded: there was nothing").await;
        client.text("f").await;
        assert_eq!(answer(&mut client).await, "1 from f to f");
        let notes =
            ["begin", "push a", "push fails", "begin", "push fails", "begin", "finish", "begin", "push f", "finish"];
        assert_eq!(journal.rest(), notes);
    }
}

#[tokio::test]
async fn a_panic_in_a_decoder_ends_the_session() {
    let server = serve(&Journal::default()).await;
    for path in ["/later", "/now"] {
        let mut client = server.connect(path).await;
        client.text("*").await;
        client.expect_text("on_error: a handler panicked: a star").await;
        client.expect_close(1011).await;
    }
}

#[tokio::test]
async fn encoder_that_fails_half_way_sends_nothing() {
    let server = serve(&Journal::default()).await;
    for path in ["/later", "/now"] {
        let mut client = server.connect(path).await;
        client.text("?").await;
        client.expect_text("on_error: cannot encode an object: nobody asks").await;
        client.expect_silence().await;
    }
}

/// Takes what begins with "whole".
#[derive(Default)]
struct Whole;
impl BinaryDecoder for Whole {
    type Object = Sum;
    fn will_decode(&mut self, data: &[u8]) -> bool {
        data.starts_with(b"whole")
    }
    fn decode(&mut self, data: Binary) -> Result<Sum, Error> {
        Ok(Sum { bytes: data.len(), first: b'W', last: b'W' })
    }
}

#[server_endpoint("/mixed", decoders(Whole, OfBinary))]
#[derive(Default)]
struct Mixed;
fails!(Mixed);
impl Mixed {
    #[on_message(binary)]
    fn sum(&mut self, sum: Sum) -> String {
        format!("{} {}", sum.bytes, char::from(sum.first))
    }
}

#[tokio::test]
async fn stream_after_a_whole_message_decoder_gets_one_part() {
    let journal = Journal::default();
    let server = serve(&journal).await;
    let mut client = server.connect("/mixed").await;
    client.binary(b"whole").await;
    client.expect_text("5 W").await;
    client.send(BINARY, "par").await;
    client.send(0x80 | CONTINUATION, "ts").await;
    client.expect_text("5 p").await;
    assert_eq!(journal.rest(), ["begin", "push parts", "finish"]);
}
