//! Area P: the small types, without a connection; and the defaults of a container.

use std::error::Error as _;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Initiator, MAX_REASON_BYTES, Message, ServerContainer};

use crate::support::TestServer;

#[test]
fn close_codes_have_their_numbers_and_their_names() {
    for (number, code, sendable) in [
        (1000, CloseCode::NormalClosure, true),
        (1001, CloseCode::GoingAway, true),
        (1002, CloseCode::ProtocolError, true),
        (1003, CloseCode::CannotAccept, true),
        (1004, CloseCode::Other(1004), false),
        (1005, CloseCode::NoStatusCode, false),
        (1006, CloseCode::ClosedAbnormally, false),
        (1007, CloseCode::NotConsistent, true),
        (1008, CloseCode::ViolatedPolicy, true),
        (1009, CloseCode::TooBig, true),
        (1010, CloseCode::NoExtension, true),
        (1011, CloseCode::UnexpectedCondition, true),
        (1012, CloseCode::ServiceRestart, true),
        (1013, CloseCode::TryAgainLater, true),
        (1015, CloseCode::TlsHandshakeFailure, false),
        (3000, CloseCode::Other(3000), true),
        (4999, CloseCode::Other(4999), true),
        // Java throws for these; ours keeps the number and never sends it
        (999, CloseCode::Other(999), false),
        (5000, CloseCode::Other(5000), false),
    ] {
        println!("P CloseCodes.getCloseCode({number})");
        assert_eq!(CloseCode::from(number), code);
        assert_eq!(code.as_u16(), number);
        assert_eq!(code.is_sendable(), sendable);
    }
}

#[test]
fn close_reason_keeps_what_it_is_given() {
    println!("P CloseReason: the phrase may be empty and is never null");
    let reason = CloseReason::new(CloseCode::TooBig, "").unwrap();
    assert_eq!((reason.code(), reason.reason(), reason.initiator()), (CloseCode::TooBig, "", Initiator::Application));
    println!("P CloseReason: at most 123 bytes of UTF-8");
    let longest = "x".repeat(MAX_REASON_BYTES);
    assert_eq!(CloseReason::new(CloseCode::NormalClosure, &longest).unwrap().reason(), longest);
    assert!(Error::from(CloseReason::new(CloseCode::NormalClosure, &"x".repeat(124)).unwrap_err()).is_too_big());
    // 62 characters, 124 bytes
    assert!(Error::from(CloseReason::new(CloseCode::NormalClosure, &"é".repeat(62)).unwrap_err()).is_too_big());
    println!("P CloseReason: cut on the boundary of a character");
    assert_eq!(CloseReason::truncating(CloseCode::NormalClosure, &"é".repeat(62)).reason(), "é".repeat(61));
}

#[test]
fn decode_exception_keeps_message_cause_and_payload() {
    for (rule, message, text, bytes) in [
        ("P DecodeException(String)", Message::Text("text".into()), Some("text"), None),
        ("P DecodeException(ByteBuffer)", Message::Binary(vec![1, 2].into()), None, Some(&[1, 2][..])),
    ] {
        println!("{rule}");
        let error = Error::decode(message, "the cause");
        assert!(error.is_decode() && !error.is_encode() && !error.is_user());
        assert_eq!((error.text(), error.bytes()), (text, bytes));
        assert_eq!(error.source().unwrap().to_string(), "the cause");
        assert!(error.to_string().contains("the cause"), "{error}");
    }
}

#[test]
fn encode_exception_keeps_message_and_cause() {
    println!("P EncodeException");
    let error = Error::encode("the cause");
    assert!(error.is_encode() && !error.is_decode());
    assert_eq!(error.source().unwrap().to_string(), "the cause");
    assert_eq!(error.to_string(), "cannot encode an object: the cause");
}

#[test]
fn deployment_exception_keeps_its_message() {
    println!("P DeploymentException");
    let error = ServerContainer::builder().context_path("nowhere").build().unwrap_err();
    assert!(error.is_deployment());
    assert!(error.to_string().contains("\"nowhere\""), "{error}");
}

#[server_endpoint("/defaults")]
#[derive(Default)]
struct Defaults;

impl Defaults {
    #[on_message]
    fn text(&self, _asked: &str, session: &Session) -> String {
        format!("{} {:?}", session.max_message_size(), session.idle_timeout())
    }
}

#[tokio::test]
async fn defaults_of_the_container_are_those_of_its_new_sessions() {
    let container = || ServerContainer::builder().register::<Defaults>();
    let idle = Some(Duration::from_millis(987_654));
    for (rule, container, expected) in [
        ("P without settings", container(), "1048576 Some(60s)"),
        ("P setDefaultMaxTextMessageBufferSize", container().max_message_size(98_765), "98765 Some(60s)"),
        ("P setDefaultMaxSessionIdleTimeout", container().idle_timeout(idle), "1048576 Some(987.654s)"),
        ("P setDefaultMaxSessionIdleTimeout(-1)", container().idle_timeout(None), "1048576 None"),
    ] {
        println!("{rule}");
        let server = TestServer::with(container).await;
        let mut client = server.connect("/defaults").await;
        client.text("?").await;
        client.expect_text(expected).await;
    }
}
