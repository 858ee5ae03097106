//! Every type a handler may take and every type it may return, alone, beside the session, beside a path parameter,
//! beside both; as an ordinary function and as an async one (Jakarta's TCK, `websocketmessage` and
//! `websocketmessagereturntype`).

mod support;

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;
use support::{BINARY, Journal, PONG, TEXT, TestServer};

/// The eight shapes of a text handler with one type of payload. The plain one returns, that with a session sends;
/// with a parameter it comes behind the payload.
macro_rules! text {
    ($name:ident, $payload:ty, $param:ty, $value:literal, [$($input:expr => $expected:expr),+ $(,)?]) => {
        mod $name {
            use endpoint_runtime::prelude::*;

            #[server_endpoint("/sync")]
            #[derive(Default)]
            pub struct Direct;
            impl Direct {
                #[on_message]
                fn message(&self, payload: $payload) -> String {
                    payload.to_string()
                }
            }

            #[server_endpoint("/sync/session")]
            #[derive(Default)]
            pub struct DirectSession;
            impl DirectSession {
                #[on_message]
                fn message(&self, session: &Session, payload: $payload) {
                    session.async_remote().send_text(payload.to_string());
                }
            }

            #[server_endpoint("/sync/param/{param}")]
            #[derive(Default)]
            pub struct DirectParam;
            impl DirectParam {
                #[on_message]
                fn message(&mut self, payload: $payload, #[path_param("param")] param: $param) -> String {
                    format!("{payload}{param}")
                }
            }

            #[server_endpoint("/sync/both/{param}")]
            #[derive(Default)]
            pub struct DirectBoth;
            impl DirectBoth {
                #[on_message]
                fn message(&self, #[path_param("param")] param: $param, payload: $payload, session: Session) {
                    session.async_remote().send_text(format!("{payload}{param}"));
                }
            }

            #[server_endpoint("/async")]
            #[derive(Default)]
            pub struct Suspending;
            impl Suspending {
                #[on_message]
                async fn message(&mut self, payload: $payload) -> String {
                    tokio::task::yield_now().await;
                    payload.to_string()
                }
            }

            #[server_endpoint("/async/session")]
            #[derive(Default)]
            pub struct SuspendingSession;
            impl SuspendingSession {
                #[on_message]
                async fn message(&self, payload: $payload, session: &Session) -> Result<(), Error> {
                    tokio::task::yield_now().await;
                    session.basic_remote().send_text(payload.to_string()).await
                }
            }

            #[server_endpoint("/async/param/{param}")]
            #[derive(Default)]
            pub struct SuspendingParam;
            impl SuspendingParam {
                #[on_message]
                async fn message(&self, #[path_param("param")] param: $param, payload: $payload) -> String {
                    tokio::task::yield_now().await;
                    format!("{payload}{param}")
                }
            }

            #[server_endpoint("/async/both/{param}")]
            #[derive(Default)]
            pub struct SuspendingBoth;
            impl SuspendingBoth {
                #[on_message]
                async fn message(
                    &mut self,
                    session: Session,
                    payload: $payload,
                    #[path_param("param")] param: $param,
                ) -> Result<(), Error> {
                    tokio::task::yield_now().await;
                    session.basic_remote().send_text(format!("{payload}{param}")).await
                }
            }
        }

        #[tokio::test]
        async fn $name() {
            let container = ServerContainer::builder()
                .register::<$name::Direct>()
                .register::<$name::DirectSession>()
                .register::<$name::DirectParam>()
                .register::<$name::DirectBoth>()
                .register::<$name::Suspending>()
                .register::<$name::SuspendingSession>()
                .register::<$name::SuspendingParam>()
                .register::<$name::SuspendingBoth>();
            let cases = [$(($input.to_string(), $expected.to_string())),+];
            echoes(TestServer::with(container).await, TEXT, $value, &cases).await;
        }
    };
}

/// The same for binary handlers.
macro_rules! binary {
    ($name:ident, $payload:ty) => {
        #[allow(clippy::ptr_arg)] // any type that can be taken
        mod $name {
            use endpoint_runtime::prelude::*;

            #[server_endpoint("/sync")]
            #[derive(Default)]
            pub struct Direct;
            impl Direct {
                #[on_message]
                fn message(&mut self, payload: $payload) -> Vec<u8> {
                    payload.to_vec()
                }
            }

            #[server_endpoint("/sync/session")]
            #[derive(Default)]
            pub struct DirectSession;
            impl DirectSession {
                #[on_message]
                fn message(&self, payload: $payload, session: &Session) {
                    session.async_remote().send_binary(payload.to_vec());
                }
            }

            #[server_endpoint("/sync/param/{param}")]
            #[derive(Default)]
            pub struct DirectParam;
            impl DirectParam {
                #[on_message]
                fn message(&self, #[path_param("param")] param: String, payload: $payload) -> Vec<u8> {
                    [&payload[..], param.as_bytes()].concat()
                }
            }

            #[server_endpoint("/sync/both/{param}")]
            #[derive(Default)]
            pub struct DirectBoth;
            impl DirectBoth {
                #[on_message]
                fn message(&self, session: Session, #[path_param("param")] param: &str, payload: $payload) {
                    session.async_remote().send_binary([&payload[..], param.as_bytes()].concat());
                }
            }

            #[server_endpoint("/async")]
            #[derive(Default)]
            pub struct Suspending;
            impl Suspending {
                #[on_message]
                async fn message(&self, payload: $payload) -> Vec<u8> {
                    tokio::task::yield_now().await;
                    payload.to_vec()
                }
            }

            #[server_endpoint("/async/session")]
            #[derive(Default)]
            pub struct SuspendingSession;
            impl SuspendingSession {
                #[on_message]
                async fn message(&mut self, session: &Session, payload: $payload) -> Result<(), Error> {
                    tokio::task::yield_now().await;
                    session.basic_remote().send_binary(payload.to_vec()).await
                }
            }

            #[server_endpoint("/async/param/{param}")]
            #[derive(Default)]
            pub struct SuspendingParam;
            impl SuspendingParam {
                #[on_message]
                async fn message(&self, payload: $payload, #[path_param("param")] param: &str) -> Vec<u8> {
                    tokio::task::yield_now().await;
                    [&payload[..], param.as_bytes()].concat()
                }
            }

            #[server_endpoint("/async/both/{param}")]
            #[derive(Default)]
            pub struct SuspendingBoth;
            impl SuspendingBoth {
                #[on_message]
                async fn message(
                    &self,
                    payload: $payload,
                    session: &Session,
                    #[path_param("param")] param: String,
                ) -> Result<(), Error> {
                    tokio::task::yield_now().await;
                    session.basic_remote().send_binary([&payload[..], param.as_bytes()].concat()).await
                }
            }
        }

        #[tokio::test]
        async fn $name() {
            let container = ServerContainer::builder()
                .register::<$name::Direct>()
                .register::<$name::DirectSession>()
                .register::<$name::DirectParam>()
                .register::<$name::DirectBoth>()
                .register::<$name::Suspending>()
                .register::<$name::SuspendingSession>()
                .register::<$name::SuspendingParam>()
                .register::<$name::SuspendingBoth>();
            // inside the value itself, in an allocation, more than one read brings
            let cases = [0, 1, 5, 38, 39, 1_000, 300_000].map(|size| {
                let data: Vec<u8> = (0..size).map(|i| i as u8 | 0x80).collect();
                (data.clone(), data)
            });
            echoes(TestServer::with(container).await, BINARY, "StringParam", &cases).await;
        }
    };
}

/// Says each of `cases` to the eight endpoints and hears the answers.
async fn echoes<S: AsRef<[u8]>>(server: TestServer, kind: u8, param: &str, cases: &[(S, S)]) {
    for mode in ["sync", "async"] {
        for (shape, suffix) in [("", ""), ("/session", ""), ("/param/", param), ("/both/", param)] {
            let path = format!("/{mode}{shape}{suffix}");
            let mut client = server.connect(&path).await;
            for (input, expected) in cases {
                client.send(0x80 | kind, input).await;
                let answer = client.expect(kind).await;
                let expected = [expected.as_ref(), suffix.as_bytes()].concat();
                assert!(
                    answer == expected,
                    "{path}: {:?} came back as {:?}",
                    String::from_utf8_lossy(input.as_ref()),
                    String::from_utf8_lossy(&answer)
                );
            }
            client.expect_silence().await;
        }
    }
}

const HALF_A_MEGABYTE: usize = 1 << 19;

text!(string, String, String, "StringParam", [
    "" => "",
    "123" => "123",
    "言葉 & \u{1f980}" => "言葉 & \u{1f980}",
    "x".repeat(38) => "x".repeat(38),
    "x".repeat(39) => "x".repeat(39),
    "é".repeat(HALF_A_MEGABYTE) => "é".repeat(HALF_A_MEGABYTE),
]);
text!(borrowed_str, &str, &str, "StringParam", [
    "" => "",
    "123" => "123",
    "言葉 & \u{1f980}" => "言葉 & \u{1f980}",
    "x".repeat(38) => "x".repeat(38),
    "x".repeat(39) => "x".repeat(39),
    "é".repeat(HALF_A_MEGABYTE) => "é".repeat(HALF_A_MEGABYTE),
]);
text!(text, Text, String, "StringParam", [
    "" => "",
    "言葉 & \u{1f980}" => "言葉 & \u{1f980}",
    "é".repeat(HALF_A_MEGABYTE) => "é".repeat(HALF_A_MEGABYTE),
]);
text!(borrowed_string, &String, &str, "StringParam", ["" => "", "abc" => "abc"]);
text!(borrowed_text, &Text, &str, "StringParam", ["" => "", "abc" => "abc"]);
text!(number_i8, i8, i8, "101", ["123" => "123", "-128" => i8::MIN, "127" => i8::MAX, "+5" => 5]);
text!(number_i16, i16, i16, "1001", ["32767" => 32767, "-32768" => i16::MIN, "123" => 123]);
text!(number_i32, i32, i32, "100001", ["32767" => 32767, "2147483647" => i32::MAX, "-2147483648" => i32::MIN]);
text!(number_i64, i64, i64, "1234567890", ["-32768" => -32768, i64::MAX => i64::MAX, i64::MIN => i64::MIN]);
text!(number_i128, i128, i128, "-1", [i128::MAX => i128::MAX, i128::MIN => i128::MIN]);
text!(number_isize, isize, isize, "0", [isize::MAX => isize::MAX, isize::MIN => isize::MIN]);
text!(number_u8, u8, u8, "255", ["0" => 0, "255" => 255, "007" => 7]);
text!(number_u16, u16, u16, "65535", ["0" => 0, "65535" => 65535]);
text!(number_u32, u32, u32, "1", [u32::MAX => u32::MAX]);
text!(number_u64, u64, u64, "1", [u64::MAX => u64::MAX]);
text!(number_u128, u128, u128, "1", [u128::MAX => u128::MAX]);
text!(number_usize, usize, usize, "1", [usize::MAX => usize::MAX]);
text!(number_f32, f32, f32, "101.101", [
    "1.4E-45" => f32::from_bits(1),
    "123" => "123",
    "123.456" => "123.456",
    "-0" => "-0",
    f32::MAX => f32::MAX,
    "inf" => f32::INFINITY,
]);
text!(number_f64, f64, f64, "12.34", [
    "1.7976931348623157E308" => f64::MAX,
    "4.9E-324" => f64::from_bits(1),
    "789.012" => "789.012",
    "NaN" => f64::NAN,
]);
text!(truth, bool, bool, "false", ["true" => "true", "false" => "false"]);
text!(character, char, char, "0", ["1" => "1", "&" => "&", "言葉" => "言", "\u{1f980}" => "\u{1f980}"]);

binary!(vec, Vec<u8>);
binary!(slice, &[u8]);
binary!(bytes, Bytes);
binary!(binary_message, Binary);
binary!(borrowed_vec, &Vec<u8>);
binary!(borrowed_bytes, &Bytes);
binary!(borrowed_binary, &Binary);

// ---- pongs ----

/// The eight shapes of a pong handler.
mod pongs {
    use endpoint_runtime::prelude::*;

    macro_rules! pong {
        ($path:literal $name:ident($($parameter:tt)*) $(.$suspend:ident)? => $answer:expr) => {
            #[server_endpoint($path)]
            #[derive(Default)]
            pub struct $name;
            pong!(@ $name [$($parameter)*] $answer $(, $suspend)?);
        };
        (@ $name:ident [$($parameter:tt)*] $answer:expr) => {
            impl $name {
                #[on_message]
                fn pong(&mut self, $($parameter)*) -> String {
                    $answer
                }
            }
        };
        (@ $name:ident [$($parameter:tt)*] $answer:expr, suspends) => {
            impl $name {
                #[on_message]
                async fn pong(&self, $($parameter)*) -> String {
                    tokio::task::yield_now().await;
                    $answer
                }
            }
        };
    }

    pub fn text(data: &[u8]) -> String {
        String::from_utf8_lossy(data).into_owned()
    }

    pong!("/sync" Direct(pong: &Pong) => text(pong.data()));
    pong!("/sync/session" DirectSession(pong: Pong, session: &Session) => {
        assert!(session.is_open());
        text(pong.data())
    });
    pong!("/sync/param/{param}" DirectParam(#[path_param("param")] param: u8, pong: Pong) => {
        format!("{}{param}", text(pong.data()))
    });
    pong!("/sync/both/{param}" DirectBoth(#[path_param("param")] param: &str, session: Session, pong: &Pong) => {
        assert!(session.is_open());
        format!("{}{param}", text(pong.data()))
    });
    pong!("/async" Suspending(pong: Pong).suspends => text(pong.data()));
    pong!("/async/session" SuspendingSession(session: Session, pong: &Pong).suspends => {
        assert!(session.is_open());
        text(pong.data())
    });
    pong!("/async/param/{param}" SuspendingParam(pong: Pong, #[path_param("param")] param: String).suspends => {
        format!("{}{param}", text(pong.data()))
    });
    pong!("/async/both/{param}" SuspendingBoth(session: &Session, #[path_param("param")] param: u8, pong: Pong).suspends => {
        assert!(session.is_open());
        format!("{}{param}", text(pong.data()))
    });
}

#[tokio::test]
async fn unsolicited_pong() {
    let container = ServerContainer::builder()
        .register::<pongs::Direct>()
        .register::<pongs::DirectSession>()
        .register::<pongs::DirectParam>()
        .register::<pongs::DirectBoth>()
        .register::<pongs::Suspending>()
        .register::<pongs::SuspendingSession>()
        .register::<pongs::SuspendingParam>()
        .register::<pongs::SuspendingBoth>();
    let server = TestServer::with(container).await;
    for mode in ["sync", "async"] {
        for (shape, param) in [("", ""), ("/session", ""), ("/param/", "111"), ("/both/", "111")] {
            let mut client = server.connect(&format!("/{mode}{shape}{param}")).await;
            for payload in ["", "payload", &"x".repeat(125)] {
                client.send(0x80 | PONG, payload).await;
                client.expect_text(&format!("{payload}{param}")).await;
            }
        }
    }
}

// ---- what a handler may return ----

/// Text and binary handlers, ordinary and async, that return a value of one type.
macro_rules! returns {
    ($name:ident, $returned:ty, $value:expr => $kind:ident $expected:expr) => {
        mod $name {
            use endpoint_runtime::prelude::*;

            #[server_endpoint("/sync")]
            #[derive(Default)]
            pub struct Direct;
            impl Direct {
                #[on_message]
                fn text(&mut self, _message: &str) -> $returned {
                    $value
                }
                #[on_message]
                fn binary(&self, _message: &[u8]) -> $returned {
                    $value
                }
                #[on_message]
                fn pong(&self, _pong: Pong) -> $returned {
                    $value
                }
            }

            #[server_endpoint("/async")]
            #[derive(Default)]
            pub struct Suspending;
            impl Suspending {
                #[on_message]
                async fn text(&mut self, _message: String) -> $returned {
                    tokio::task::yield_now().await;
                    $value
                }
                #[on_message]
                async fn binary(&self, _message: Bytes) -> $returned {
                    tokio::task::yield_now().await;
                    $value
                }
                #[on_message]
                async fn pong(&self, _pong: Pong) -> $returned {
                    tokio::task::yield_now().await;
                    $value
                }
            }
        }

        #[tokio::test]
        async fn $name() {
            let container = ServerContainer::builder().register::<$name::Direct>().register::<$name::Suspending>();
            let server = TestServer::with(container).await;
            for path in ["/sync", "/async"] {
                for asked in [TEXT, BINARY, PONG] {
                    let mut client = server.connect(path).await;
                    client.send(0x80 | asked, "?").await;
                    let expected: Option<&[u8]> = $expected;
                    if let Some(expected) = expected {
                        assert_eq!(client.expect($kind).await, expected, "{path} asked with opcode {asked}");
                    }
                    client.expect_silence().await;
                }
            }
        }
    };
}

returns!(returns_unit, (), () => TEXT None);
returns!(returns_string, String, "text".to_owned() => TEXT Some(b"text"));
returns!(returns_static_str, &'static str, "text" => TEXT Some(b"text"));
returns!(returns_empty_string, String, String::new() => TEXT Some(b""));
returns!(returns_text, Text, Text::from("言") => TEXT Some("言".as_bytes()));
returns!(returns_i8, i8, 123 => TEXT Some(b"123"));
returns!(returns_i8_min, i8, i8::MIN => TEXT Some(b"-128"));
returns!(returns_i16, i16, 32767 => TEXT Some(b"32767"));
returns!(returns_i32, i32, -32768 => TEXT Some(b"-32768"));
returns!(returns_i64, i64, i64::MIN => TEXT Some(b"-9223372036854775808"));
returns!(returns_i128, i128, -1 => TEXT Some(b"-1"));
returns!(returns_isize, isize, -1 => TEXT Some(b"-1"));
returns!(returns_u8, u8, 255 => TEXT Some(b"255"));
returns!(returns_u16, u16, 65535 => TEXT Some(b"65535"));
returns!(returns_u32, u32, u32::MAX => TEXT Some(b"4294967295"));
returns!(returns_u64, u64, u64::MAX => TEXT Some(b"18446744073709551615"));
returns!(returns_u128, u128, 0 => TEXT Some(b"0"));
returns!(returns_usize, usize, 1 => TEXT Some(b"1"));
returns!(returns_f32, f32, 123.456 => TEXT Some(b"123.456"));
returns!(returns_f64, f64, 789.012 => TEXT Some(b"789.012"));
returns!(returns_whole_f64, f64, -104.0 => TEXT Some(b"-104"));
returns!(returns_bool, bool, true => TEXT Some(b"true"));
returns!(returns_char, char, 'A' => TEXT Some(b"A"));
returns!(returns_vec, Vec<u8>, vec![0, 255] => BINARY Some(&[0, 255]));
returns!(returns_empty_vec, Vec<u8>, vec![] => BINARY Some(b""));
returns!(returns_static_slice, &'static [u8], &[1, 2] => BINARY Some(&[1, 2]));
returns!(returns_array, [u8; 3], [1, 2, 3] => BINARY Some(&[1, 2, 3]));
returns!(returns_bytes, Bytes, Bytes::from_static(b"\x00") => BINARY Some(&[0]));
returns!(returns_binary, Binary, Binary::from(vec![7; 100]) => BINARY Some(&[7; 100]));
returns!(returns_some, Option<String>, Some("text".to_owned()) => TEXT Some(b"text"));
returns!(returns_some_empty, Option<&'static str>, Some("") => TEXT Some(b""));
returns!(returns_none, Option<String>, None => TEXT None);
returns!(returns_none_bytes, Option<Vec<u8>>, None => TEXT None);
returns!(returns_some_number, Option<i32>, Some(-100) => TEXT Some(b"-100"));
returns!(returns_ok, Result<String, Error>, Ok("text".to_owned()) => TEXT Some(b"text"));
returns!(returns_ok_unit, Result<(), Error>, Ok(()) => TEXT None);
returns!(returns_ok_of_own_error, Result<u8, std::num::ParseIntError>, "7".parse() => TEXT Some(b"7"));
returns!(returns_ok_some, Result<Option<char>, Error>, Ok(Some('j')) => TEXT Some(b"j"));
returns!(returns_ok_none, Result<Option<Bytes>, Error>, Ok(None) => TEXT None);
returns!(
    returns_ok_of_boxed_error,
    Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>,
    Ok(vec![1]) => BINARY Some(&[1])
);

/// What is returned may be borrowed from the endpoint.
#[server_endpoint("/own")]
struct Own {
    name: String,
    data: Vec<u8>,
}

impl Own {
    #[on_message]
    fn text(&self, _message: &str) -> &str {
        &self.name
    }

    #[on_message]
    async fn binary(&mut self, data: Vec<u8>) -> &[u8] {
        self.data.extend(data);
        &self.data
    }
}

#[tokio::test]
async fn returns_what_it_borrows_from_itself() {
    let own = |_: &HandshakeRequest| Ok(Own { name: "a name".to_owned(), data: vec![1] });
    let server = TestServer::with(ServerContainer::builder().endpoint_with(own)).await;
    let mut client = server.connect("/own").await;
    client.text("?").await;
    client.expect_text("a name").await;
    for expected in [vec![1, 2], vec![1, 2, 2]] {
        client.binary(&[2]).await;
        assert_eq!(client.expect(BINARY).await, expected);
    }
}

/// An error that is returned goes to `on_error`, and nothing to the peer.
#[server_endpoint("/err")]
struct Failing {
    journal: Journal,
}

impl Failing {
    #[on_message]
    fn text(&self, message: &str) -> Result<i32, std::num::ParseIntError> {
        message.parse()
    }

    #[on_message]
    async fn binary(&self, _data: Bytes) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Err("no binary, please".into())
    }

    #[on_error]
    fn error(&self, error: &Error) {
        let number = error.downcast_ref::<std::num::ParseIntError>().is_some();
        self.journal.note(format!("{error} user {} number {number}", error.is_user()));
    }
}

#[tokio::test]
async fn returned_error_reaches_on_error_and_sends_nothing() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Failing { journal: own.clone() }));
    let server = TestServer::with(container).await;
    let mut client = server.connect("/err").await;
    client.text("x").await;
    journal.expect("invalid digit found in string user true number true").await;
    client.binary(&[1]).await;
    journal.expect("no binary, please user true number false").await;
    client.expect_silence().await;
    client.text("5").await;
    client.expect_text("5").await;
}
