//! Forms of messages beside JSON text: MessagePack, CBOR, Protocol Buffers, JSON in binary frames, and the one that the
//! subprotocol names.

mod support;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Cbor, MessagePack, Negotiated, Protobuf, ServerContainer};
use serde::{Deserialize, Serialize};
use support::{BINARY, Client, TEXT, TestServer};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Place {
    #[prost(sint32, tag = "1")]
    x: i32,
    #[prost(string, tag = "2")]
    name: String,
}

/// An endpoint that takes one form, and gives it back as a reply and by `send_object`.
macro_rules! mirror {
    ($name:ident, $path:literal, ($($attribute:ident)?) $form:ident<$type:ty>, |$value:ident| $mirrored:expr) => {
        #[server_endpoint($path)]
        #[derive(Default)]
        struct $name;
        impl $name {
            #[on_message$(($attribute))?]
            async fn mirror(&mut self, $form($value): $form<$type>, session: &Session) -> Option<$form<$type>> {
                let mirrored = $form($mirrored);
                session.basic_remote().send_object(&mirrored).await.unwrap();
                Some(mirrored)
            }
            #[on_error]
            async fn failed(&mut self, error: &Error, session: &Session) {
                let bytes = error.bytes().map(<[u8]>::len);
                let _ = session.basic_remote().send_text(format!("{} {bytes:?} {error}", error.is_decode())).await;
            }
        }
    };
}
mirror!(Packed, "/msgpack", () MessagePack<Point>, |point| Point { x: point.y, y: point.x });
mirror!(Concise, "/cbor", () Cbor<Point>, |point| Point { x: point.y, y: point.x });
mirror!(Buffered, "/protobuf", () Protobuf<Place>, |place| Place { x: -place.x, ..place });
mirror!(Binaries, "/json", (binary) Json<Point>, |point| Point { x: point.y, y: point.x });

#[server_endpoint("/negotiated", subprotocols("json", "plane.msgpack", "plane.v2.cbor", "plain"))]
#[derive(Default)]
struct Agreeing;
impl Agreeing {
    #[on_message]
    async fn mirror(&mut self, point: &Negotiated<Point>, session: &Session) -> Result<Negotiated<Point>, Error> {
        session.async_remote().send_object(point)?;
        Ok(Negotiated(Point { x: point.y, y: point.x }))
    }
    #[on_error]
    async fn failed(&mut self, error: &Error, session: &Session) {
        let again = session.async_remote().send_object(&Negotiated(1)).map(drop);
        let _ = session.basic_remote().send_text(format!("{error} / {again:?}")).await;
    }
}

#[server_endpoint("/now", subprotocols("json", "msgpack"))]
#[derive(Default)]
struct AgreeingNow;
impl AgreeingNow {
    #[on_message]
    fn mirror(&mut self, Negotiated(point): Negotiated<Point>) -> Option<Negotiated<i32>> {
        (point.x != 0).then_some(Negotiated(point.x))
    }
}

async fn serve() -> TestServer {
    let container = ServerContainer::builder().register::<Packed>().register::<Concise>().register::<Buffered>();
    let container = container.register::<Binaries>().register::<Agreeing>().register::<AgreeingNow>();
    TestServer::with(container).await
}

/// (path, what is sent, opcode and payload of both answers)
#[tokio::test]
async fn each_format_is_read_returned_and_sent() {
    let server = serve().await;
    let rows: [(&str, &[u8], u8, &[u8]); 6] = [
        ("/msgpack", b"\x82\xa1x\x01\xa1y\xff", BINARY, b"\x82\xa1x\xff\xa1y\x01"),
        ("/msgpack", b"\x92\x01\xff", BINARY, b"\x82\xa1x\xff\xa1y\x01"),
        ("/cbor", b"\xa2\x61x\x01\x61y\x20", BINARY, b"\xa2\x61x\x20\x61y\x01"),
        ("/protobuf", b"\x08\x02\x12\x01a", BINARY, b"\x08\x01\x12\x01a"),
        ("/protobuf", b"", BINARY, b""),
        ("/json", br#"{"x":1,"y":-1}"#, TEXT, br#"{"x":-1,"y":1}"#),
    ];
    for (path, input, opcode, expected) in rows {
        let mut client = server.connect(path).await;
        client.binary(input).await;
        for _ in 0..2 {
            assert_eq!(client.expect(opcode).await, expected, "{path} after {input:?}");
        }
    }
}

#[tokio::test]
async fn wrong_format_is_an_error_with_its_bytes_and_the_session_continues() {
    let server = serve().await;
    let rows: [(&str, &[u8], &str); 6] = [
        ("/msgpack", b"\x82", "true Some(1) the binary message of 1 bytes is not MessagePack for type "),
        ("/msgpack", b"\x92\x01\xff!", "true Some(4) the binary message of 4 bytes is not MessagePack for type "),
        ("/cbor", b"x", "true Some(1) the binary message of 1 bytes is not CBOR for type "),
        ("/cbor", b"\xa2\x61x\x01\x61y\x20\x00", "true Some(8) the binary message of 8 bytes is not CBOR for type "),
        ("/protobuf", b"\xff", "true Some(1) the binary message of 1 bytes is not a Protocol Buffers message of type "),
        ("/json", b"{\"x\":\xff", "true Some(6) the binary message of 6 bytes is not JSON for type "),
    ];
    for (path, input, expected) in rows {
        let mut client = server.connect(path).await;
        for _ in 0..2 {
            client.binary(input).await;
            let text = String::from_utf8(client.expect(TEXT).await).unwrap();
            assert!(text.starts_with(expected), "{path}: {text}");
        }
    }
}

async fn agreeing(server: &TestServer, path: &str, subprotocol: &str) -> Client {
    Client::connect_with(server.addr, path, &[&format!("Sec-WebSocket-Protocol: {subprotocol}")]).await
}

#[tokio::test]
async fn subprotocol_selects_the_format() {
    let server = serve().await;
    type Row = (&'static str, u8, &'static [u8], u8, &'static [u8], &'static [u8]);
    let rows: [Row; 4] = [
        ("json", TEXT, br#"{"x":1,"y":-1}"#, TEXT, br#"{"x":1,"y":-1}"#, br#"{"x":-1,"y":1}"#),
        ("json", BINARY, br#"{"x":1,"y":-1}"#, TEXT, br#"{"x":1,"y":-1}"#, br#"{"x":-1,"y":1}"#),
        ("plane.msgpack", BINARY, b"\x92\x01\xff", BINARY, b"\x82\xa1x\x01\xa1y\xff", b"\x82\xa1x\xff\xa1y\x01"),
        (
            "plane.v2.cbor",
            BINARY,
            b"\xa2\x61x\x01\x61y\x20",
            BINARY,
            b"\xa2\x61x\x01\x61y\x20",
            b"\xa2\x61x\x20\x61y\x01",
        ),
    ];
    for (subprotocol, kind, input, opcode, sent, reply) in rows {
        let mut client = agreeing(&server, "/negotiated", subprotocol).await;
        client.send(0x80 | kind, input).await;
        assert_eq!(client.expect(opcode).await, sent, "{subprotocol}");
        assert_eq!(client.expect(opcode).await, reply, "{subprotocol}");
    }
    let mut client = agreeing(&server, "/now", "json").await;
    client.text(r#"{"x":7,"y":0}"#).await;
    client.expect_text("7").await;
    client.text(r#"{"x":0,"y":0}"#).await;
    client.expect_silence().await;
    let mut client = agreeing(&server, "/now", "msgpack").await;
    client.binary(b"\x92\x07\x00").await;
    assert_eq!(client.expect(BINARY).await, b"\x07");
}

#[tokio::test]
async fn without_a_format_subprotocol_nothing_is_read_or_sent() {
    let server = serve().await;
    let mut client = agreeing(&server, "/negotiated", "plain").await;
    client.text("{}").await;
    let names_none = r#"the subprotocol "plain" does not name a known message format"#;
    let text = format!(
        "the text message \"{{}}\" cannot be decoded: {names_none} / \
         Err(Encode: cannot encode an object: {names_none})"
    );
    client.expect_text(&text).await;
    let mut client = server.connect("/negotiated").await;
    client.binary(b"").await;
    let none = "no subprotocol was negotiated, so the message format is unknown";
    let text = format!(
        "the binary message of 0 bytes cannot be decoded: {none} / Err(Encode: cannot encode an object: {none})"
    );
    client.expect_text(&text).await;
}

#[tokio::test]
async fn text_is_refused_if_a_binary_format_was_negotiated() {
    let server = serve().await;
    let mut client = agreeing(&server, "/negotiated", "plane.v2.cbor").await;
    client.text("{}").await;
    // what send_object sends in on_error is the number 1
    assert_eq!(client.expect(BINARY).await, b"\x01");
    let sentence = r#"cannot be decoded: messages of the subprotocol "plane.v2.cbor" are binary"#;
    client.expect_text(&format!("the text message \"{{}}\" {sentence} / Ok(())")).await;
}
