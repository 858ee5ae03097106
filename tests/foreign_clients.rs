//! A client that somebody else wrote, tokio-tungstenite, agrees with us on the protocol.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use futures_util::{SinkExt, StreamExt};
use support::{Journal, TestServer, soon};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode as TheirCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error as TheirError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

#[server_endpoint("/echo/{room}", subprotocols("chat.v2", "chat.v1"))]
struct Echo {
    journal: Journal,
}

impl Echo {
    #[on_message]
    async fn text(&self, message: Text, session: &Session) -> Option<Text> {
        match &*message {
            "close" => session.close_with(CloseReason::new(CloseCode::Other(4321), "as you wish").ok()?),
            "ping" => session.async_remote().send_ping("from the server").ok()?,
            _ => return Some(message),
        }
        None
    }

    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }

    #[on_message]
    fn pong(&self, pong: Pong) {
        self.journal.note(format!("pong {}", String::from_utf8_lossy(pong.data())));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {reason} by {:?}", reason.initiator()));
    }
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open() -> (TestServer, Client, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Echo { journal: own.clone() }));
    let server = TestServer::with(container).await;
    let (client, response) = soon(connect_async(format!("ws://{}/echo/blue", server.addr))).await.unwrap();
    assert_eq!(response.status(), 101);
    (server, client, journal)
}

async fn next(client: &mut Client) -> Option<Result<Message, TheirError>> {
    soon(client.next()).await
}

/// Sends and reads at the same time, so that neither waits for the other.
async fn echo(client: &mut Client, message: Message) {
    let (mut sink, mut stream) = client.split();
    let (sent, received) = soon(async { tokio::join!(sink.send(message.clone()), stream.next()) }).await;
    sent.unwrap();
    assert!(received.unwrap().unwrap() == message, "a message of {} bytes came back changed", message.len());
}

#[tokio::test]
async fn text_of_many_sizes_comes_back() {
    let (_server, mut client, _) = open().await;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        echo(&mut client, Message::text("x".repeat(size))).await;
    }
    echo(&mut client, Message::text("言葉 \u{1f980}")).await;
}

#[tokio::test]
async fn binary_of_many_sizes_comes_back() {
    let (_server, mut client, _) = open().await;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        echo(&mut client, Message::binary((0..size).map(|i| i as u8).collect::<Vec<_>>())).await;
    }
}

#[tokio::test]
async fn many_messages_at_once_come_back_in_order() {
    let (_server, mut client, _) = open().await;
    let (mut sink, mut stream) = (&mut client).split();
    let sending = async {
        for number in 0..5_000 {
            sink.feed(Message::text(number.to_string())).await.unwrap();
        }
        sink.flush().await.unwrap();
    };
    let receiving = async {
        for number in 0..5_000 {
            assert_eq!(stream.next().await.unwrap().unwrap(), Message::text(number.to_string()));
        }
    };
    soon(async { tokio::join!(sending, receiving) }).await;
}

#[tokio::test]
async fn fragmented_messages_come_back_whole() {
    let (_server, mut client, _) = open().await;
    for (kind, expected) in
        [(Data::Text, Message::text("one two three")), (Data::Binary, Message::binary(&b"one two three"[..]))]
    {
        for (payload, kind, fin) in
            [("one ", kind, false), ("two ", Data::Continue, false), ("three", Data::Continue, true)]
        {
            let fragment = Frame::message(payload.as_bytes(), OpCode::Data(kind), fin);
            soon(client.send(Message::Frame(fragment))).await.unwrap();
        }
        assert_eq!(next(&mut client).await.unwrap().unwrap(), expected);
    }
}

#[tokio::test]
async fn its_ping_is_answered() {
    let (_server, mut client, _) = open().await;
    for payload in [&b""[..], b"payload", &[7; 125]] {
        soon(client.send(Message::Ping(payload.into()))).await.unwrap();
        assert_eq!(next(&mut client).await.unwrap().unwrap(), Message::Pong(payload.into()));
    }
}

#[tokio::test]
async fn it_answers_our_ping() {
    let (_server, mut client, journal) = open().await;
    soon(client.send(Message::text("ping"))).await.unwrap();
    assert_eq!(next(&mut client).await.unwrap().unwrap(), Message::Ping("from the server".into()));
    soon(client.flush()).await.unwrap();
    journal.expect("pong from the server").await;
}

#[tokio::test]
async fn it_closes_and_both_sides_agree() {
    let (_server, mut client, journal) = open().await;
    let frame = CloseFrame { code: TheirCode::Normal, reason: "done".into() };
    soon(client.close(Some(frame))).await.unwrap();
    match next(&mut client).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, TheirCode::Normal),
        other => panic!("{other:?}"),
    }
    assert!(next(&mut client).await.is_none());
    journal.expect("close 1000 done by Peer").await;
}

#[tokio::test]
async fn we_close_and_both_sides_agree() {
    let (_server, mut client, journal) = open().await;
    soon(client.send(Message::text("close"))).await.unwrap();
    let frame = CloseFrame { code: TheirCode::Library(4321), reason: "as you wish".into() };
    match next(&mut client).await.unwrap().unwrap() {
        Message::Close(Some(CloseFrame { code, reason })) => {
            assert_eq!((u16::from(code), reason), (4321, frame.reason));
        }
        other => panic!("{other:?}"),
    }
    assert!(next(&mut client).await.is_none());
    journal.expect("close 4321 as you wish by Application").await;
}

#[tokio::test]
async fn shutdown_closes_foreign_clients() {
    let (server, mut client, journal) = open().await;
    echo(&mut client, Message::text("served")).await;
    let shutdown = tokio::spawn(server.shutdown());
    match next(&mut client).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, TheirCode::Away),
        other => panic!("{other:?}"),
    }
    assert!(next(&mut client).await.is_none());
    let shutdown = soon(shutdown).await.unwrap();
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
    assert!(journal.next().await.starts_with("close 1006"));
}

#[tokio::test]
async fn subprotocol_is_agreed_on() {
    let (server, _client, _) = open().await;
    let mut request = format!("ws://{}/echo/blue", server.addr).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "soap, chat.v1".parse().unwrap());
    let (_client, response) = soon(connect_async(request)).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v1");
}

#[tokio::test]
async fn refusal_is_reported_by_foreign_clients() {
    let (server, _client, _) = open().await;
    match soon(connect_async(format!("ws://{}/elsewhere", server.addr))).await {
        Err(TheirError::Http(response)) => assert_eq!(response.status(), 404),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn hundred_clients_at_once_are_served() {
    let (server, _client, _) = open().await;
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let url = format!("ws://{}/echo/{number}", server.addr);
            tokio::spawn(async move {
                let (mut client, _) = connect_async(url).await.unwrap();
                for round in 0..10 {
                    echo(&mut client, Message::text(format!("{number} {round}"))).await;
                }
                client.close(None).await.unwrap();
                while let Some(Ok(_)) = client.next().await {}
            })
        })
        .collect();
    for client in clients {
        tokio::time::timeout(Duration::from_secs(30), client).await.unwrap().unwrap();
    }
}
