//! Area A: every type a handler may take. (Each of them also beside a session, beside a path parameter and beside both,
//! as an ordinary function and as an async one: `tests/echo.rs` and `tests/parts.rs`.)

use endpoint_runtime::prelude::*;
use endpoint_runtime::{BinaryStream, DecodeBinary, DecodeText, Message, ServerContainer, TextStream};

use crate::Step::{self, BinaryFragments, Fragments, Hear, HearBinary, HearClose, Silence};
use crate::support::TestServer;
use crate::{Row, play};

/// Endpoints with one handler each: what it takes beside `self`, and what it replies.
macro_rules! endpoints {
    ($($name:ident $path:literal ($($parameter:tt)*) -> $reply:ty $body:block)*) => {
        $(
            #[server_endpoint($path)]
            #[derive(Default)]
            struct $name;

            impl $name {
                #[on_message]
                fn message(&self, $($parameter)*) -> $reply $body
            }
        )*

        async fn server() -> TestServer {
            TestServer::with(
                ServerContainer::builder()$(.register::<$name>())*.register::<Named>().register::<Read>().register::<Five>().register::<Nine>(),
            )
            .await
        }
    };
}

endpoints! {
    Str "/string" (message: String) -> String { message }
    Truth "/boolean" (message: bool) -> bool { message }
    I8 "/byte" (message: i8) -> i8 { message }
    I16 "/short" (message: i16) -> i16 { message }
    I32 "/int" (message: i32) -> i32 { message }
    I64 "/long" (message: i64) -> i64 { message }
    F32 "/float" (message: f32) -> f32 { message }
    F64 "/double" (message: f64) -> f64 { message }
    Char "/char" (message: char) -> char { message }
    StrSession "/string/session" (message: String, session: &Session) -> String {
        assert!(session.is_open());
        message
    }
    StrParam "/string/param/{param}" (#[path_param] param: String, message: String) -> String { message + &param }
    StrBoth "/string/both/{param}" (message: String, session: Session, #[path_param] param: &str) -> String {
        assert!(session.is_open());
        message + param
    }
    TruthParam "/boolean/param/{param}" (message: bool, #[path_param] param: bool) -> String {
        format!("{message}{param}")
    }
    CharParam "/char/param/{param}" (message: char, #[path_param] param: char) -> String { format!("{message}{param}") }
    I8Param "/byte/param/{param}" (message: i8, #[path_param] param: i8) -> String { format!("{message}{param}") }
    I16Param "/short/param/{param}" (message: i16, #[path_param] param: i16) -> String { format!("{message}{param}") }
    I32Param "/int/param/{param}" (message: i32, #[path_param] param: i32) -> String { format!("{message}{param}") }
    F64Param "/double/param/{param}" (message: f64, #[path_param] param: f64) -> String { format!("{message}{param}") }
    Part "/parts" (part: &str, last: bool) -> String { format!("{part}({last})") }
    PartParam "/parts/{param}" (last: bool, part: &str, #[path_param] param: &str) -> String {
        format!("{part}({last}){param}")
    }
    BinaryPart "/binary/parts" (part: &[u8], last: bool) -> Vec<u8> { [part, format!("({last})").as_bytes()].concat() }
    BinaryPartParam "/binary/parts/{param}" (part: Vec<u8>, #[path_param] param: &str, last: bool) -> Vec<u8> {
        [&part[..], format!("({last}){param}").as_bytes()].concat()
    }
    ByteArray "/bytes" (data: Vec<u8>) -> Vec<u8> { data }
    Buffer "/buffer" (data: Bytes) -> Bytes { data }
    Slice "/slice" (data: &[u8]) -> Vec<u8> { data.to_vec() }
    Ponged "/pong" (pong: Pong) -> String { String::from_utf8_lossy(pong.data()).into_owned() }
    PongedBoth "/pong/{param}" (session: &Session, pong: &Pong, #[path_param] param: u32) -> String {
        assert!(session.is_open());
        format!("{}{param}", String::from_utf8_lossy(pong.data()))
    }
}

/// A type of one's own, which travels as text and as binary data.
struct Name(String);

impl DecodeText for Name {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(Self(text.into()))
    }
}

impl DecodeBinary for Name {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        match String::from_utf8(data.to_vec()) {
            Ok(name) => Ok(Self(name)),
            Err(error) => Err(Error::decode(Message::Binary(data), error)),
        }
    }
}

#[server_endpoint("/name")]
#[derive(Default)]
struct Named;

impl Named {
    #[on_message(text)]
    fn text(&self, name: Name) -> String {
        format!("text {}", name.0)
    }

    #[on_message(binary)]
    async fn binary(&self, name: &Name) -> String {
        format!("binary {}", name.0)
    }
}

/// Reads messages while they arrive (`Reader`, `InputStream`).
#[server_endpoint("/read")]
#[derive(Default)]
struct Read;

impl Read {
    #[on_message]
    async fn text(&mut self, mut text: TextStream) -> Result<String, Error> {
        let mut whole = String::new();
        while let Some(piece) = text.next().await {
            whole.push_str(&piece?);
        }
        Ok(whole)
    }

    #[on_message]
    async fn binary(&mut self, mut data: BinaryStream) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = data.next().await {
            whole.extend(piece?);
        }
        Ok(whole)
    }
}

#[server_endpoint("/five")]
#[derive(Default)]
struct Five;

impl Five {
    #[on_message(max_size = 5)]
    fn text(&self, message: String) -> String {
        message
    }

    #[on_message(max_size = 5)]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }
}

#[server_endpoint("/nine")]
#[derive(Default)]
struct Nine;

impl Nine {
    #[on_message]
    fn text(&self, message: String, session: &Session) -> String {
        format!("{message} {}", session.max_message_size())
    }
}

/// Text is sent as it stands, and comes back as it stands.
const SAME: &[(&str, &str, &str)] = &[
    ("A.1 String", "/string", "123"),
    ("A.1 boolean, WSC-4.7-2", "/boolean", "true"),
    ("A.1 byte, WSC-4.7-2", "/byte", "123"),
    ("A.1 short of a byte", "/short", "123"),
    ("A.1 int of a byte", "/int", "123"),
    ("A.1 long of a byte", "/long", "123"),
    ("A.1 float of a byte", "/float", "123"),
    ("A.1 double of a byte", "/double", "123"),
    ("A.1 short, WSC-4.7-2", "/short", "32767"),
    ("A.1 int of a short", "/int", "32767"),
    ("A.1 long of a short", "/long", "32767"),
    ("A.1 float of a short", "/float", "32767"),
    ("A.1 double of a short", "/double", "32767"),
    ("A.1 String of a short", "/string", "32767"),
    ("A.1 int, WSC-4.7-2", "/int", "-32768"),
    ("A.1 long, WSC-4.7-2", "/long", "-32768"),
    ("A.1 double of a long", "/double", "-32768"),
    ("A.1 float of a long", "/float", "-32768"),
    ("A.1 char, WSC-4.7-2", "/char", "1"),
    ("A.1 char, WSC-4.7-2", "/char", "&"),
    ("A.1 String of a char", "/string", "&"),
    ("A.1 String of nothing", "/string", ""),
];

#[tokio::test]
async fn each_type_of_text_comes_back() {
    let server = server().await;
    for (rule, path, text) in SAME {
        play(&server, &[(rule, path, &[Step::Text(text), Hear(text), Silence])]).await;
    }
    let (tiny, huge) = (f32::from_bits(1).to_string(), f64::MAX.to_string());
    play(
        &server,
        &[
            ("A.1 float, the smallest, WSC-4.7-2", "/float", &[Step::Text("1.4E-45"), Hear(&tiny)]),
            ("A.1 double, the largest, WSC-4.7-2", "/double", &[Step::Text("1.7976931348623157E308"), Hear(&huge)]),
            ("A.1 char takes the first of a text", "/char", &[Step::Text("言葉"), Hear("言")]),
        ],
    )
    .await;
}

#[tokio::test]
async fn session_and_path_parameter_stand_in_any_order() {
    let rows: &[Row<'_>] = &[
        ("A.1 String, Session", "/string/session", &[Step::Text("abc"), Hear("abc")]),
        ("A.1 String, PathParam", "/string/param/StringParam", &[Step::Text("abc"), Hear("abcStringParam")]),
        ("A.1 String, Session, PathParam", "/string/both/StringParam", &[Step::Text("abc"), Hear("abcStringParam")]),
        ("A.1 byte, PathParam", "/byte/param/101", &[Step::Text("123"), Hear("123101")]),
        ("A.1 short, PathParam", "/short/param/1001", &[Step::Text("32767"), Hear("327671001")]),
        ("A.1 int, PathParam", "/int/param/100001", &[Step::Text("32767"), Hear("32767100001")]),
        ("A.1 double, PathParam", "/double/param/101.101", &[Step::Text("123"), Hear("123101.101")]),
        ("A.1 char, PathParam", "/char/param/1", &[Step::Text("&"), Hear("&1")]),
        (
            "A.2 String → boolean, PathParam, WSC-4.3-5",
            "/boolean/param/false",
            &[Step::Text("true"), Hear("truefalse")],
        ),
    ];
    play(&server().await, rows).await;
}

#[tokio::test]
async fn parts_are_replied_to_one_by_one() {
    let rows: &[Row<'_>] = &[
        ("A.3 (String, boolean)", "/parts", &[Fragments("A", "B"), Hear("A(false)"), Hear("B(true)"), Silence]),
        ("A.3 (String, boolean), PathParam", "/parts/p", &[Fragments("A", "B"), Hear("A(false)p"), Hear("B(true)p")]),
        (
            "A.3 (byte[], boolean)",
            "/binary/parts",
            &[BinaryFragments(b"A", b"B"), HearBinary(b"A(false)"), HearBinary(b"B(true)"), Silence],
        ),
        (
            "A.3 (byte[], boolean), PathParam",
            "/binary/parts/p",
            &[BinaryFragments(b"A", b"B"), HearBinary(b"A(false)p"), HearBinary(b"B(true)p")],
        ),
        ("A.3 a whole message is its last part", "/parts", &[Step::Text("A"), Hear("A(true)"), Silence]),
        ("A.3 whole handlers get fragments joined", "/string", &[Fragments("A", "B"), Hear("AB"), Silence]),
        (
            "A.3 whole handlers get fragments joined",
            "/bytes",
            &[BinaryFragments(b"A", b"B"), HearBinary(b"AB"), Silence],
        ),
    ];
    play(&server().await, rows).await;
}

#[tokio::test]
async fn binary_data_and_custom_types_are_echoed() {
    let rows: &[Row<'_>] = &[
        ("A.4 byte[]", "/bytes", &[Step::Binary(&[0, 255]), HearBinary(&[0, 255]), Step::Binary(b""), HearBinary(b"")]),
        ("A.4 ByteBuffer", "/buffer", &[Step::Binary(&[0, 255]), HearBinary(&[0, 255])]),
        ("A.4 ByteBuffer, read in place", "/slice", &[Step::Binary(&[0, 255]), HearBinary(&[0, 255])]),
        ("A.1 Reader", "/read", &[Step::Text("text"), Hear("text"), Fragments("A", "B"), Hear("AB"), Silence]),
        (
            "A.4 InputStream",
            "/read",
            &[Step::Binary(&[1, 2]), HearBinary(&[1, 2]), BinaryFragments(&[3], &[4]), HearBinary(&[3, 4]), Silence],
        ),
        ("A.1 Decoder.Text", "/name", &[Step::Text("Ada"), Hear("text Ada")]),
        ("A.4 Decoder.Binary", "/name", &[Step::Binary(b"Ada"), Hear("binary Ada")]),
    ];
    play(&server().await, rows).await;
}

#[tokio::test]
async fn unsolicited_pong_is_handled() {
    let rows: &[Row<'_>] = &[
        ("A.5 PongMessage, WSC-2.2.5-2", "/pong", &[Step::Pong("payload"), Hear("payload"), Step::Pong(""), Hear("")]),
        ("A.5 PongMessage, Session, PathParam", "/pong/111", &[Step::Pong("payload"), Hear("payload111")]),
    ];
    play(&server().await, rows).await;
}

#[tokio::test]
async fn max_size_is_of_the_whole_message_in_bytes() {
    let rows: &[Row<'_>] = &[
        (
            "A.6 maxMessageSize = 5, WSC-4.7.1-1",
            "/five",
            &[
                Step::Text("12345"),
                Hear("12345"),
                Step::Text("123456"),
                HearClose(1009, "a message of at least 6 bytes exceeds the limit of 5"),
            ],
        ),
        (
            "A.6 maxMessageSize = 5, in fragments",
            "/five",
            &[
                Fragments("123", "45"),
                Hear("12345"),
                Fragments("123", "456"),
                HearClose(1009, "a message of at least 6 bytes exceeds the limit of 5"),
            ],
        ),
        (
            "A.6 maxMessageSize = 5, binary",
            "/five",
            &[
                Step::Binary(b"12345"),
                HearBinary(b"12345"),
                Step::Binary(b"123456"),
                HearClose(1009, "a message of at least 6 bytes exceeds the limit of 5"),
            ],
        ),
        ("A.6 no maxMessageSize", "/nine", &[Step::Text("123456789"), Hear("123456789 1048576")]),
    ];
    play(&server().await, rows).await;
}
