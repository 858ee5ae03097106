//! Areas C and F: coders that an endpoint lists: each of the eight kinds is made ready, asked and done with, and encoders
//! beat the default form of numbers. (In detail: `tests/codecs.rs` and `tests/stream_coders.rs`.)

use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};

use crate::Step::{Binary as Data, Hear, HearBinary, Silence, Text as Say};
use crate::support::{Journal, TestServer};
use crate::{Row, play};

/// Has no form of its own.
struct Word(String);

/// A coder's journal, which it finds when it is made ready.
#[derive(Default)]
struct Notes {
    journal: Option<Journal>,
    whole: Vec<u8>,
}

impl Notes {
    fn init(&mut self, who: &str, session: &Session) {
        self.journal = session.state::<Journal>().map(|journal| Journal::clone(journal));
        self.note(who, "init");
    }

    fn note(&self, who: &str, what: &str) {
        self.journal.as_ref().expect("init to come first").note(format!("{who} {what}"));
    }

    fn word(&mut self) -> Result<Word, Error> {
        Ok(Word(String::from_utf8_lossy(&std::mem::take(&mut self.whole)).into_owned()))
    }
}

/// `init` and `destroy`, which every coder has.
macro_rules! life {
    ($name:ident) => {
        fn init(&mut self, session: &Session) {
            self.0.init(stringify!($name), session);
        }

        fn destroy(&mut self) {
            self.0.note(stringify!($name), "destroy");
        }
    };
}

macro_rules! decoder {
    ($($name:ident: $kind:ident of $message:ty as $lent:ty, wills $wills:literal;)*) => {$(
        #[derive(Default)]
        struct $name(Notes);

        impl $kind for $name {
            type Object = Word;

            life!($name);

            fn will_decode(&mut self, _message: &$lent) -> bool {
                self.0.note(stringify!($name), "willDecode");
                $wills
            }

            fn decode(&mut self, message: $message) -> Result<Word, Error> {
                self.0.note(stringify!($name), "decode");
                let lent: &$lent = message.as_ref();
                self.0.whole.extend_from_slice(lent.as_ref());
                self.0.word()
            }
        }
    )*};
}

decoder! {
    OfText: TextDecoder of Text as str, wills true;
    NotOfText: TextDecoder of Text as str, wills false;
    OfBinary: BinaryDecoder of Binary as [u8], wills true;
    NotOfBinary: BinaryDecoder of Binary as [u8], wills false;
}

macro_rules! stream_decoder {
    ($($name:ident: $kind:ident of $part:ty;)*) => {$(
        #[derive(Default)]
        struct $name(Notes);

        impl $kind for $name {
            type Object = Word;

            life!($name);

            fn begin(&mut self) {
                self.0.note(stringify!($name), "decode");
            }

            fn push(&mut self, part: &$part) -> Result<(), Error> {
                self.0.whole.extend_from_slice(part.as_ref());
                Ok(())
            }

            fn finish(&mut self) -> Result<Word, Error> {
                self.0.word()
            }
        }
    )*};
}

stream_decoder! {
    OfTextStream: TextStreamDecoder of str;
    OfBinaryStream: BinaryStreamDecoder of [u8];
}

#[derive(Default)]
struct ToText(Notes);

impl TextEncoder for ToText {
    type Object = Word;

    life!(ToText);

    fn encode(&mut self, word: &Word) -> Result<Text, Error> {
        self.0.note("ToText", "encode");
        Ok(word.0.clone().into())
    }
}

#[derive(Default)]
struct ToBinary(Notes);

impl BinaryEncoder for ToBinary {
    type Object = Word;

    life!(ToBinary);

    fn encode(&mut self, word: &Word) -> Result<Binary, Error> {
        self.0.note("ToBinary", "encode");
        Ok(word.0.clone().into_bytes().into())
    }
}

#[derive(Default)]
struct ToTextStream(Notes);

impl TextStreamEncoder for ToTextStream {
    type Object = Word;

    life!(ToTextStream);

    fn encode(&mut self, word: &Word, text: &mut String) -> Result<(), Error> {
        self.0.note("ToTextStream", "encode");
        word.0.chars().for_each(|char| text.push(char));
        Ok(())
    }
}

#[derive(Default)]
struct ToBinaryStream(Notes);

impl BinaryStreamEncoder for ToBinaryStream {
    type Object = Word;

    life!(ToBinaryStream);

    fn encode(&mut self, word: &Word, data: &mut Vec<u8>) -> Result<(), Error> {
        self.0.note("ToBinaryStream", "encode");
        word.0.bytes().for_each(|byte| data.push(byte));
        Ok(())
    }
}

/// Endpoints that return what they take.
macro_rules! echo {
    ($($name:ident $path:literal $kind:ident [$($decoder:ident),*] $encoder:ident;)*) => {$(
        #[server_endpoint($path, decoders($($decoder),*), encoders($encoder))]
        #[derive(Default)]
        struct $name;

        impl $name {
            #[on_message($kind)]
            async fn echo(&mut self, word: Word) -> Word {
                word
            }
        }
    )*};
}

echo! {
    ByText "/text" text [OfText] ToText;
    ByBinary "/binary" binary [OfBinary] ToBinary;
    ByTextStream "/text/stream" text [OfTextStream] ToTextStream;
    ByBinaryStream "/binary/stream" binary [OfBinaryStream] ToBinaryStream;
    BySecondText "/text/second" text [NotOfText, OfText] ToText;
    BySecondBinary "/binary/second" binary [NotOfBinary, OfBinary] ToBinary;
}

#[tokio::test]
async fn coders_of_each_kind_have_their_life_cycle() {
    let journal = Journal::default();
    let container = ServerContainer::builder()
        .state(journal.clone())
        .register::<ByText>()
        .register::<ByBinary>()
        .register::<ByTextStream>()
        .register::<ByBinaryStream>()
        .register::<BySecondText>()
        .register::<BySecondBinary>();
    let server = TestServer::with(container).await;
    for (rule, path, binary, notes) in [
        (
            "C Decoder.Text, Encoder.Text",
            "/text",
            false,
            "OfText init, ToText init, OfText willDecode, OfText decode, ToText encode, OfText destroy, ToText destroy",
        ),
        (
            "C Decoder.Binary, Encoder.Binary",
            "/binary",
            true,
            "OfBinary init, ToBinary init, OfBinary willDecode, OfBinary decode, ToBinary encode, OfBinary destroy, \
             ToBinary destroy",
        ),
        (
            "C Decoder.TextStream, Encoder.TextStream",
            "/text/stream",
            false,
            "OfTextStream init, ToTextStream init, OfTextStream decode, ToTextStream encode, OfTextStream destroy, \
             ToTextStream destroy",
        ),
        (
            "C Decoder.BinaryStream, Encoder.BinaryStream",
            "/binary/stream",
            true,
            "OfBinaryStream init, ToBinaryStream init, OfBinaryStream decode, ToBinaryStream encode, \
             OfBinaryStream destroy, ToBinaryStream destroy",
        ),
        (
            "C a decoder of text that will not is not asked to",
            "/text/second",
            false,
            "NotOfText init, OfText init, ToText init, NotOfText willDecode, OfText willDecode, OfText decode, \
             ToText encode, NotOfText destroy, OfText destroy, ToText destroy",
        ),
        (
            "C a decoder of binary data that will not is not asked to",
            "/binary/second",
            true,
            "NotOfBinary init, OfBinary init, ToBinary init, NotOfBinary willDecode, OfBinary willDecode, \
             OfBinary decode, ToBinary encode, NotOfBinary destroy, OfBinary destroy, ToBinary destroy",
        ),
    ] {
        println!("{rule}, WSC-4.1.2-1, WSC-4.1.3-1");
        let mut client = server.connect(path).await;
        let (sent, expected) = if binary { (Data(b"word"), HearBinary(b"word")) } else { (Say("word"), Hear("word")) };
        sent.take(&mut client).await;
        expected.take(&mut client).await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        for note in notes.split(", ") {
            journal.expect(note).await;
        }
        assert_eq!(journal.rest(), [""; 0]);
    }
}

// ---- encoders of numbers ----

macro_rules! encoders_of_numbers {
    ($($name:ident of $number:ty = $form:literal;)*) => {$(
        #[derive(Default)]
        struct $name;

        impl TextEncoder for $name {
            type Object = $number;

            fn encode(&mut self, _number: &$number) -> Result<Text, Error> {
                Ok($form.into())
            }
        }
    )*};
}

encoders_of_numbers! {
    Booleans of bool = "a boolean";
    Chars of char = "a char";
    Bytes8 of i8 = "a byte";
    Shorts of i16 = "a short";
    Ints of i32 = "an int";
    Longs of i64 = "a long";
    Floats of f32 = "a float";
}

#[derive(Default)]
struct Doubles;

impl BinaryStreamEncoder for Doubles {
    type Object = f64;

    fn encode(&mut self, _number: &f64, data: &mut Vec<u8>) -> Result<(), Error> {
        data.extend_from_slice(b"a double");
        Ok(())
    }
}

#[server_endpoint("/numbers", encoders(Booleans, Chars, Bytes8, Shorts, Ints, Longs, Floats, Doubles))]
#[derive(Default)]
struct Numbers;

impl Numbers {
    #[on_message]
    async fn text(&mut self, asked: String, session: &Session) -> Result<(), Error> {
        let (basic, remote) = (session.basic_remote(), session.async_remote());
        match asked.as_str() {
            "boolean" => basic.send_object(&true).await,
            "char" => basic.send_object(&'x').await,
            "byte" => basic.send_object(&1_i8).await,
            "short" => basic.send_object(&1_i16).await,
            "int" => basic.send_object(&1_i32).await,
            "long" => basic.send_object(&1_i64).await,
            "float" => basic.send_object(&1_f32).await,
            "double" => basic.send_object(&1_f64).await,
            "async boolean" => remote.send_object(&true)?.await,
            "async int" => remote.send_object(&1_i32)?.await,
            "async double" => remote.send_object(&1_f64)?.await,
            _ => basic.send_object(&1_u8).await,
        }
    }

    #[on_message]
    fn returned(&self, _asked: &[u8]) -> i32 {
        1
    }
}

#[tokio::test]
async fn listed_encoder_takes_precedence_over_the_default_of_a_number() {
    let rows: &[Row<'_>] = &[
        ("F Boolean", "/numbers", &[Say("boolean"), Hear("a boolean"), Silence]),
        ("F Character", "/numbers", &[Say("char"), Hear("a char"), Silence]),
        ("F Byte", "/numbers", &[Say("byte"), Hear("a byte"), Silence]),
        ("F Short", "/numbers", &[Say("short"), Hear("a short"), Silence]),
        ("F Integer", "/numbers", &[Say("int"), Hear("an int"), Silence]),
        ("F Long", "/numbers", &[Say("long"), Hear("a long"), Silence]),
        ("F Float", "/numbers", &[Say("float"), Hear("a float"), Silence]),
        ("F Double, by a stream of bytes", "/numbers", &[Say("double"), HearBinary(b"a double"), Silence]),
        ("F Boolean, asynchronous", "/numbers", &[Say("async boolean"), Hear("a boolean"), Silence]),
        ("F Integer, asynchronous", "/numbers", &[Say("async int"), Hear("an int"), Silence]),
        ("F Double, asynchronous", "/numbers", &[Say("async double"), HearBinary(b"a double"), Silence]),
        ("F without an encoder, its own form", "/numbers", &[Say("u8"), Hear("1"), Silence]),
        ("F returned", "/numbers", &[Data(b"?"), Hear("an int"), Silence]),
    ];
    play(&TestServer::of::<Numbers>().await, rows).await;
}
