//! Areas N and O: what must not be deployed. Most of it does not compile: the row names the case of `tests/ui/fail`,
//! which the compiler's sentences are compared with. What only the whole program can tell is refused when the container
//! is built, and then nothing of it answers.

use std::path::Path;

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;

use crate::Step::{Hear, Silence, Text as Say};
use crate::play;
use crate::support::{Client, TestServer};

/// The rule, the case, and words of the sentence that its author reads.
const REFUSED_BY_THE_COMPILER: &[(&str, &str, &str)] = &[
    ("N @OnOpen with a String that is not a @PathParam", "open_takes_message", "#[path_param]"),
    ("N @OnOpen with a Throwable", "open_takes_error", "#[on_error]"),
    ("N two @OnOpen, WSC-4.4-3", "handler_two_on_open", "on_open"),
    ("N @OnClose with a Throwable", "close_takes_error", "#[on_error]"),
    ("N @OnClose with a String", "close_takes_message", "only `#[on_message]` takes a message"),
    ("N two @OnClose", "handler_two_on_close", "on_close"),
    ("N @OnError with a CloseReason", "error_takes_close_reason", "#[on_close]"),
    ("N @OnError without a Throwable", "error_missing", "Error"),
    ("N two @OnError", "handler_two_on_error", "on_error"),
    ("N @OnMessage without a message", "message_missing", "message"),
    ("N @OnMessage of text that nothing decodes", "message_not_decodable", "DecodeText"),
    ("N @OnMessage of text with an int", "message_text_with_number", "second message"),
    ("N @OnMessage of binary data that nothing decodes", "message_not_decodable_binary", "DecodeBinary"),
    ("N @OnMessage of binary data with an int", "message_binary_with_number", "second message"),
    ("N @OnMessage of a type without a kind", "message_unknown_type", "#[on_message(text)]"),
    ("N two @OnMessage of text, WSC-4.7-4", "handler_two_for_text", "on_message"),
    ("N two @OnMessage of text, one in parts", "handler_text_whole_and_in_parts", "text"),
    ("N two @OnMessage of binary data", "handler_two_for_binary", "binary"),
    ("N two @OnMessage of pongs", "handler_two_for_pong", "pong"),
    ("N (PongMessage, boolean)", "message_parts_of_pong", "Pong"),
    ("N (Reader, boolean)", "stream_with_last", "last"),
    ("N @OnMessage with two sessions", "message_two_sessions", "Session"),
    ("N @OnMessage with two booleans", "message_two_last", "last"),
    ("N @OnMessage with two messages", "message_two_payloads", "second message"),
    ("N maxMessageSize out of range", "message_bad_size", "size"),
    ("N @PathParam of a bean in @OnOpen", "path_param_not_parsable", "FromStr"),
    ("N @PathParam of a bean in @OnMessage", "path_param_not_parsable_in_message", "FromStr"),
    ("N @PathParam of a bean in @OnClose", "path_param_not_parsable_in_close", "FromStr"),
    ("N @PathParam of a bean in @OnError", "path_param_not_parsable_in_error", "FromStr"),
    ("N @PathParam that the path lacks, WSC-4.3-3", "path_param_not_in_path", "Option"),
    ("N path \"\", WSC-4.1.1-3", "path_empty", "path"),
    ("N path without a slash, WSC-4.1.1-3", "path_without_slash", "/"),
    ("N path with an empty segment", "path_with_empty_segment", "segment"),
    ("N path with a dot segment", "path_with_dot_segment", "segment"),
    ("N path with a variable in part of a segment", "path_variable_in_part_of_segment", "segment"),
    ("N path with a duplicate variable", "path_variable_twice", "duplicate"),
    ("N an endpoint twice on one class", "endpoint_twice", "server_endpoint"),
    ("O a second method of a kind in another impl block", "handler_two_in_two_impls", "on_message"),
];

#[test]
fn each_malformed_endpoint_has_its_case_and_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/fail");
    for (rule, case, words) in REFUSED_BY_THE_COMPILER {
        println!("{rule}: {case}");
        assert!(folder.join(case).with_extension("rs").exists(), "{rule}: no case {case}");
        let sentence = std::fs::read_to_string(folder.join(case).with_extension("stderr")).expect(case);
        assert!(sentence.contains(words), "{rule}: {words:?} is not in\n{sentence}");
    }
}

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, message: String) -> String {
        message
    }
}

#[server_endpoint("/path/{a}")]
#[derive(Default)]
struct First;

#[server_endpoint("/path/{b}")]
#[derive(Default)]
struct Equivalent;

#[server_endpoint("/echo")]
#[derive(Default)]
struct SamePath;

#[tokio::test]
async fn one_malformed_endpoint_refuses_the_whole_program() {
    for (rule, container) in [
        (
            "N two classes on one path, WSC-3.1.1-2, WSC-4.1.1-4",
            ServerContainer::builder().register::<Echo>().register::<SamePath>(),
        ),
        (
            "N equivalent templates, WSC-3.1.1-2",
            ServerContainer::builder().register::<Echo>().register::<First>().register::<Equivalent>(),
        ),
        (
            "N a programmatic endpoint on a path that is taken",
            ServerContainer::builder().register::<Echo>().add_endpoint("/echo", || Added),
        ),
        (
            "N a malformed path of a programmatic endpoint, WSC-5.2.1-4",
            ServerContainer::builder().register::<Echo>().add_endpoint("", || Added),
        ),
    ] {
        println!("{rule}: nothing is mounted, /echo neither, WSC-5.2.1-3");
        let error = Server::with(container).bind("127.0.0.1:0").await.unwrap_err();
        assert!(error.is_deployment(), "{error}");
    }
}

struct Added;

impl endpoint_runtime::Endpoint for Added {
    async fn on_open(&mut self, _session: &Session) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn endpoint_that_is_not_mounted_does_not_answer() {
    println!("N a class that is not deployed has no path");
    let server = TestServer::with(ServerContainer::builder().register::<Echo>()).await;
    assert_eq!(Client::try_connect(server.addr, "/path/a", &[]).await.0.status, 404);
    play(&server, &[("N the well-formed one responds", "/echo", &[Say("x"), Hear("x"), Silence])]).await;
}

/// Handlers that several endpoints share, where Java would inherit them (§4.8).
macro_rules! inherited {
    ($($name:ident $path:literal)*) => {$(
        #[server_endpoint($path)]
        #[derive(Default)]
        struct $name;

        impl $name {
            #[on_message]
            fn text(&self, message: String) -> String {
                format!("{} {message}", self.name())
            }
        }
    )*};
}

inherited! {
    Base "/inherited/base"
    Derived "/inherited/derived"
}

/// What an endpoint may override.
trait Named {
    fn name(&self) -> &'static str {
        "base"
    }
}

impl Named for Base {}

impl Named for Derived {
    fn name(&self) -> &'static str {
        "derived"
    }
}

// a further kind of message in a further block of methods
impl Derived {
    #[on_message]
    fn binary(&self, data: Vec<u8>) -> String {
        format!("{} {}", self.name(), data.len())
    }
}

#[tokio::test]
async fn handlers_are_shared_by_a_macro_and_overridden_by_a_trait() {
    let server = TestServer::with(ServerContainer::builder().register::<Base>().register::<Derived>()).await;
    play(
        &server,
        &[
            ("O a method of the base", "/inherited/base", &[Say("x"), Hear("base x"), Silence]),
            ("O one that is overridden", "/inherited/derived", &[Say("x"), Hear("derived x"), Silence]),
            (
                "O one that is added",
                "/inherited/derived",
                &[crate::Step::Binary(&[1, 2]), Hear("derived 2"), Say("x"), Hear("derived x")],
            ),
            ("O and not for the base", "/inherited/base", &[crate::Step::Binary(&[1, 2]), Silence]),
        ],
    )
    .await;
}
