//! Areas E and F: what both remotes send, and what they refuse. (Order, bounds and time-outs: `tests/sending.rs`.)

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Encode, Message, ServerContainer};

use crate::Step::{
    Hear, HearBinary, HearBinaryJoined, HearJoined, HearPing, HearPong, Ping, Pong as Answer, Silence, Text as Say,
};
use crate::support::TestServer;
use crate::{Row, play};

/// A number with a form of its own: what beats the default one.
struct Roman(u8);

impl Encode for Roman {
    fn encode(&self) -> Result<Message, Error> {
        Ok(Message::Text("I".repeat(self.0.into()).into()))
    }
}

/// Sends what it is asked for by one remote or the other.
#[server_endpoint("/{remote}")]
#[derive(Default)]
struct Sending;

impl Sending {
    #[on_message]
    async fn text(&self, what: String, session: &Session, #[path_param] remote: &str) -> Result<(), Error> {
        if remote == "basic" { basic(&what, session).await } else { asynchronous(&what, session).await }
    }

    #[on_message]
    fn pong(&self, pong: Pong) -> String {
        format!("pong {}", String::from_utf8_lossy(pong.data()))
    }
}

async fn basic(what: &str, session: &Session) -> Result<(), Error> {
    let remote = session.basic_remote();
    match what {
        "text" => remote.send_text("whole").await,
        "empty text" => remote.send_text("").await,
        "binary" => remote.send_binary(vec![1, 2, 3]).await,
        "empty binary" => remote.send_binary(vec![]).await,
        "byte" => remote.send_object(&-100_i8).await,
        "short" => remote.send_object(&-101_i16).await,
        "int" => remote.send_object(&-102_i32).await,
        "long" => remote.send_object(&-103_i64).await,
        "float" => remote.send_object(&-104.5_f32).await,
        "double" => remote.send_object(&-105.5_f64).await,
        "boolean" => remote.send_object(&false).await,
        "char" => remote.send_object(&char::from(106)).await,
        "bean" => remote.send_object(&Roman(3)).await,
        "parts" => {
            remote.send_text_part("A", false).await?;
            remote.send_text_part("B", false).await?;
            remote.send_text_part("C", true).await
        }
        "binary parts" => {
            remote.send_binary_part(vec![1], false).await?;
            remote.send_binary_part(vec![2], false).await?;
            remote.send_binary_part(vec![3], true).await
        }
        "writer" => {
            let mut writer = remote.text_writer();
            writer.write_text("written ").await?;
            writer.write_text("twice").await?;
            writer.finish().await
        }
        "stream" => {
            let mut writer = remote.binary_writer();
            writer.write_binary(vec![1, 2]).await?;
            writer.finish().await
        }
        "writer without a write" => remote.text_writer().finish().await,
        "writer with an empty write" => {
            let mut writer = remote.text_writer();
            writer.write_text("").await?;
            writer.finish().await
        }
        "batch" => {
            remote.set_batching_allowed(!remote.batching_allowed());
            remote.send_text("batched").await?;
            remote.flush_batch().await?;
            remote.set_batching_allowed(false);
            Ok(())
        }
        "ping" => remote.send_ping("payload").await,
        "pong" => remote.send_pong("payload").await,
        "125" => remote.send_ping([b'x'; 125]).await,
        "long ping" => answer(remote.send_ping([0; 126]).await, session),
        "long pong" => answer(remote.send_pong([0; 126]).await, session),
        other => remote.send_text(other).await,
    }
}

async fn asynchronous(what: &str, session: &Session) -> Result<(), Error> {
    let remote = session.async_remote();
    match what {
        "text" => remote.send_text("whole").await,
        "empty text" => remote.send_text("").await,
        "binary" => remote.send_binary(vec![1, 2, 3]).await,
        "empty binary" => remote.send_binary(vec![]).await,
        "byte" => remote.send_object(&-100_i8)?.await,
        "short" => remote.send_object(&-101_i16)?.await,
        "int" => remote.send_object(&-102_i32)?.await,
        "long" => remote.send_object(&-103_i64)?.await,
        "float" => remote.send_object(&-104.5_f32)?.await,
        "double" => remote.send_object(&-105.5_f64)?.await,
        "boolean" => remote.send_object(&false)?.await,
        "char" => remote.send_object(&char::from(106))?.await,
        "bean" => remote.send_object(&Roman(3))?.await,
        "parts" => {
            drop(remote.send_text_part("A", false));
            drop(remote.send_text_part("B", false));
            remote.send_text_part("C", true).await
        }
        "binary parts" => {
            drop(remote.send_binary_part(vec![1], false));
            drop(remote.send_binary_part(vec![2], false));
            remote.send_binary_part(vec![3], true).await
        }
        "batch" => {
            remote.set_batching_allowed(!remote.batching_allowed());
            drop(remote.send_text("batched"));
            remote.flush_batch().await?;
            remote.set_batching_allowed(false);
            Ok(())
        }
        "handler" => {
            let own = session.clone();
            remote.send_text("sent").on_complete(move |sent| {
                own.async_remote().send_text(format!("isOK {}", sent.is_ok()));
            });
            Ok(())
        }
        "ping" => remote.send_ping("payload"),
        "pong" => remote.send_pong("payload"),
        "125" => remote.send_ping([b'x'; 125]),
        "long ping" => answer(remote.send_ping([0; 126]), session),
        "long pong" => answer(remote.send_pong([0; 126]), session),
        other => remote.send_text(other).await,
    }
}

/// Says what kind of refusal came.
fn answer(sent: Result<(), Error>, session: &Session) -> Result<(), Error> {
    let error = sent.unwrap_err();
    session.async_remote().send_text(format!("too big {} closed {}", error.is_too_big(), error.is_closed()));
    Ok(())
}

#[tokio::test]
async fn both_remotes_send_the_same() {
    let server = TestServer::with(ServerContainer::builder().register::<Sending>()).await;
    let refused = Hear("too big true closed false");
    let longest = "x".repeat(125);
    for remote in ["/basic", "/async"] {
        let rows: &[Row<'_>] = &[
            ("E sendText", remote, &[Say("text"), Hear("whole"), Silence]),
            ("E sendText of nothing", remote, &[Say("empty text"), Hear(""), Silence]),
            ("E sendBinary", remote, &[Say("binary"), HearBinary(&[1, 2, 3]), Silence]),
            ("E sendBinary of nothing", remote, &[Say("empty binary"), HearBinary(b""), Silence]),
            ("E sendObject of a Byte", remote, &[Say("byte"), Hear("-100")]),
            ("E sendObject of a Short", remote, &[Say("short"), Hear("-101")]),
            ("E sendObject of an Integer", remote, &[Say("int"), Hear("-102")]),
            ("E sendObject of a Long", remote, &[Say("long"), Hear("-103")]),
            ("E sendObject of a Float", remote, &[Say("float"), Hear("-104.5")]),
            ("E sendObject of a Double", remote, &[Say("double"), Hear("-105.5")]),
            ("E sendObject of a Boolean", remote, &[Say("boolean"), Hear("false")]),
            ("E sendObject of a Character", remote, &[Say("char"), Hear("j")]),
            ("F an encoder of one's own beats the default form", remote, &[Say("bean"), Hear("III"), Silence]),
            (
                "E sendPing, WSC-2.2.5-2",
                remote,
                &[Say("ping"), HearPing("payload"), Answer("payload"), Hear("pong payload")],
            ),
            ("E sendPing of 125 bytes", remote, &[Say("125"), HearPing(&longest), Silence]),
            ("E sendPing of 126 bytes", remote, &[Say("long ping"), refused, Silence]),
            ("E sendPong", remote, &[Say("pong"), HearPong("payload"), Silence]),
            ("E sendPong of 126 bytes", remote, &[Say("long pong"), refused, Silence]),
            ("E a ping is answered with its payload, WSC-2.2.5-1", remote, &[Ping("payload"), HearPong("payload")]),
            ("E a ping of nothing is answered, too", remote, &[Ping(""), HearPong("")]),
        ];
        play(&server, rows).await;
    }
}

#[tokio::test]
async fn messages_are_written_piece_by_piece() {
    let rows: &[Row<'_>] = &[
        ("E getSendWriter", "/basic", &[Say("writer"), HearJoined("written twice"), Silence]),
        ("E getSendStream", "/basic", &[Say("stream"), HearBinaryJoined(&[1, 2]), Silence]),
        ("E getSendWriter, closed without a write", "/basic", &[Say("writer without a write"), Silence]),
        ("E getSendWriter, an empty write", "/basic", &[Say("writer with an empty write"), HearJoined(""), Silence]),
    ];
    play(&TestServer::with(ServerContainer::builder().register::<Sending>()).await, rows).await;
}

#[tokio::test]
async fn callback_reports_that_the_message_was_sent() {
    let rows: &[Row<'_>] = &[("E SendHandler", "/async", &[Say("handler"), Hear("sent"), Hear("isOK true"), Silence])];
    play(&TestServer::with(ServerContainer::builder().register::<Sending>()).await, rows).await;
}
