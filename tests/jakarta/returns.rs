//! Area B: what a handler may return. (Every type of ours: `tests/echo.rs`.)

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Encode, Message, ServerContainer};

use crate::Step::{Hear, HearBinary, Silence, Text as Say};
use crate::support::TestServer;
use crate::{Row, play};

/// A type of one's own that travels as text, and one that travels as binary data.
struct Word(&'static str);

impl Encode for Word {
    fn encode(&self) -> Result<Message, Error> {
        Ok(Message::Text(self.0.into()))
    }
}

struct Raw(&'static [u8]);

impl Encode for Raw {
    fn encode(&self) -> Result<Message, Error> {
        Ok(Message::Binary(self.0.into()))
    }
}

macro_rules! endpoints {
    ($($name:ident $path:literal $reply:ty { $value:expr })*) => {
        $(
            #[server_endpoint($path)]
            #[derive(Default)]
            struct $name;

            impl $name {
                #[on_message]
                async fn message(&mut self, _message: String) -> $reply {
                    $value
                }
            }
        )*

        async fn server() -> TestServer {
            TestServer::with(ServerContainer::builder()$(.register::<$name>())*).await
        }
    };
}

endpoints! {
    Truth "/boolean" bool { true }
    I8 "/byte" i8 { 123 }
    I16 "/short" i16 { 32767 }
    I32 "/int" i32 { -32768 }
    I64 "/long" i64 { i64::MIN }
    F32 "/float" f32 { 123.456 }
    F64 "/double" f64 { 789.012 }
    Char "/char" char { 'A' }
    Str "/string" &'static str { "text" }
    Empty "/string/empty" String { String::new() }
    Null "/null" Option<String> { None }
    Void "/void" () { () }
    ByWord "/bean/text" Word { Word("bean") }
    ByBytes "/bean/binary" Raw { Raw(b"bean") }
    Array "/bytes" Vec<u8> { vec![0, 128, 255] }
    Heap "/buffer/heap" Bytes { Bytes::from(vec![0, 128, 255]) }
    Direct "/buffer/direct" Bytes { Bytes::from_static(&[0, 128, 255]) }
}

#[tokio::test]
async fn each_type_is_sent_in_its_encoding() {
    let (asked, bytes) = (Say("?"), HearBinary(&[0, 128, 255]));
    let rows: &[Row<'_>] = &[
        ("B boolean", "/boolean", &[asked, Hear("true"), Silence]),
        ("B byte", "/byte", &[asked, Hear("123"), Silence]),
        ("B short", "/short", &[asked, Hear("32767"), Silence]),
        ("B int", "/int", &[asked, Hear("-32768"), Silence]),
        ("B long", "/long", &[asked, Hear("-9223372036854775808"), Silence]),
        ("B float", "/float", &[asked, Hear("123.456"), Silence]),
        ("B double", "/double", &[asked, Hear("789.012"), Silence]),
        ("B char", "/char", &[asked, Hear("A"), Silence]),
        ("B String", "/string", &[asked, Hear("text"), Silence]),
        ("B String, an empty one is a message", "/string/empty", &[asked, Hear(""), Silence]),
        ("B null sends nothing", "/null", &[asked, Silence]),
        ("B void sends nothing", "/void", &[asked, Silence]),
        ("B Encoder.Text", "/bean/text", &[asked, Hear("bean"), Silence]),
        ("B Encoder.Binary", "/bean/binary", &[asked, HearBinary(b"bean"), Silence]),
        ("B byte[]", "/bytes", &[asked, bytes, Silence]),
        ("B ByteBuffer on the heap", "/buffer/heap", &[asked, bytes, Silence]),
        ("B ByteBuffer that is shared", "/buffer/direct", &[asked, bytes, Silence]),
    ];
    play(&server().await, rows).await;
}
