//! Sockets that somebody else accepted, tokio-tungstenite's server or a handler of axum: what a session is there, and
//! what it cannot do.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, WebSocketUpgrade};
use axum::routing::any;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    BoxError, Configurator, ContainerBuilder, Endpoint, EndpointConfig, ExternalSocket, HandshakeResponse, Identity,
    MessageHandler, Principal,
};
use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use support::{BINARY, CLOSE, CONTINUATION, Client, Journal, PING, PONG, TEXT, soon};
use tokio::net::{TcpListener, TcpSocket};
use tokio_tungstenite::tungstenite;

#[server_endpoint("/echo/{room}", max_message_size = "64KiB", subprotocols("echo.v2"))]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_open]
    fn open(&self, session: &Session, #[path_param] room: &str) {
        session.join(room);
    }

    #[on_message]
    async fn text(&self, message: String, session: &Session) -> Result<String, BoxError> {
        let remote = session.basic_remote();
        Ok(match message.as_str() {
            "uri?" => session.uri().to_owned(),
            "room?" => format!("{} of {}", session.rooms().join(","), session.open_sessions().len()),
            "subprotocol?" => format!("{:?}", session.subprotocol()),
            "peer?" => format!("{:?}", session.peer_addr()),
            "who?" => session.principal::<User>().map_or("nobody", |user| user.0).to_owned(),
            "ping" => {
                remote.send_ping("ours").await?;
                return Ok("pinged".to_owned());
            }
            "bye" => {
                session.close_with(CloseReason::new(CloseCode::from(4001), "enough")?);
                "too late".to_owned()
            }
            "parts" => {
                let part = remote.send_text_part("a", false).await.unwrap_err();
                let handed = session.async_remote().send_binary_part(&b"a"[..], false).await.unwrap_err();
                let mut writer = session.basic_remote().text_writer();
                let written = writer.write_text("a".repeat(100_000)).await.unwrap_err();
                let added = session.add_message_handler(MessageHandler::binary_parts(|_, _: Binary, _| ()));
                let whole = session.add_message_handler(MessageHandler::pong(|_, _: Pong| ()));
                assert!(whole.is_ok());
                for error in [&part, &handed, &written, &added.unwrap_err()] {
                    assert!(error.is_unsupported(), "{error}");
                }
                part.to_string()
            }
            _ => message,
        })
    }

    #[on_message]
    fn binary(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }

    #[on_error]
    fn error(&self, error: &Error, journal: State<Journal>) {
        journal.note(format!("error, protocol {}, too big {}", error.is_protocol(), error.is_too_big()));
    }

    #[on_close]
    fn close(&self, reason: CloseReason, journal: State<Journal>) {
        journal.note(format!("closed {} {:?} by {:?}", reason.code(), reason.reason(), reason.initiator()));
    }
}

struct User(&'static str);

impl Principal for User {
    fn name(&self) -> &str {
        self.0
    }

    fn has_role(&self, role: &str) -> bool {
        role == "member"
    }
}

/// Serves with a handler of axum; what `serve_axum` comes to is noted.
async fn behind_axum(adopted: ExternalSocket, journal: Journal) -> SocketAddr {
    let handler = move |Path(room): Path<String>, mut parts: Parts, upgrade: WebSocketUpgrade| async move {
        if parts.uri.query() == Some("member") {
            parts.extensions.insert(Identity::new(User("ann")));
        }
        upgrade.protocols(["echo.v2"]).on_upgrade(|socket| async move {
            let served = adopted.request(parts).path_params([("room", room)]).serve_axum(socket).await;
            note(&journal, served);
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().route("/echo/{room}", any(handler));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Serves with the server of tokio-tungstenite.
async fn behind_tungstenite(adopted: ExternalSocket, journal: Journal) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (adopted, journal) = (adopted.clone(), journal.clone());
            tokio::spawn(async move {
                let mut head = None;
                // the library's own
                #[allow(clippy::result_large_err)]
                let keep = |request: &http::Request<()>, mut response: http::Response<()>| {
                    let parts = request.clone().into_parts().0;
                    if let Some(offered) = parts.headers.get("sec-websocket-protocol") {
                        response.headers_mut().insert("sec-websocket-protocol", offered.clone());
                    }
                    head = Some(parts);
                    Ok(response)
                };
                let socket = tokio_tungstenite::accept_hdr_async(stream, keep).await.unwrap();
                let mut parts: Parts = head.unwrap();
                if parts.uri.query() == Some("member") {
                    parts.extensions.insert(Identity::new(User("ann")));
                }
                let room = parts.uri.path().rsplit('/').next().unwrap().to_owned();
                let request = adopted.request(parts).path_params([("room", room)]).peer_addr(peer);
                note(&journal, request.subprotocol("echo.v2").serve_tungstenite(socket).await);
            });
        }
    });
    addr
}

fn note(journal: &Journal, served: Result<CloseReason, Refusal>) {
    match served {
        Ok(reason) => journal.note(format!("served {}", reason.code())),
        Err(refusal) => journal.note(format!("refused {}", refusal.status().as_u16())),
    }
}

/// Both hosts with `Echo`, and the journal of both.
async fn hosts(container: ContainerBuilder) -> (ServerContainer, Journal, [SocketAddr; 2]) {
    let journal = Journal::default();
    let container = container.state(journal.clone()).build().unwrap();
    let adopted = container.adopt::<Echo>().unwrap();
    let first = behind_axum(adopted.clone(), journal.clone()).await;
    (container, journal.clone(), [first, behind_tungstenite(adopted, journal).await])
}

fn builder() -> ContainerBuilder {
    ServerContainer::builder()
}

#[tokio::test]
async fn messages_of_every_size_and_kind_come_back() {
    let (_container, journal, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        for length in [0, 1, 125, 126, 1_000, 65_535, 65_536] {
            let text = "x".repeat(length);
            client.text(&text).await;
            client.expect_text(&text).await;
            client.binary(&vec![7; length]).await;
            assert_eq!(client.expect(BINARY).await, vec![7; length]);
        }
        // fragments are put together below
        client.send(TEXT, "one ").await;
        client.send(CONTINUATION, "two ").await;
        client.send(0x80 | PING, "between").await;
        client.send(0x80 | CONTINUATION, "言葉").await;
        assert_eq!(client.expect(PONG).await, b"between");
        client.expect_text("one two 言葉").await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
        journal.expect("closed 1000 \"\" by Peer").await;
        journal.expect("served 1000").await;
    }
}

#[tokio::test]
async fn many_messages_at_once_are_answered_in_order() {
    let (_container, _, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        let frames: Vec<u8> = (0..500).flat_map(|n| support::frame(0x81, n.to_string().as_bytes())).collect();
        client.send_raw(&frames).await;
        for n in 0..500 {
            client.expect_text(&n.to_string()).await;
        }
    }
}

#[tokio::test]
async fn session_knows_its_request_its_room_and_its_principal() {
    let (container, _, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect_with(addr, "/echo/a?member", &["Sec-WebSocket-Protocol: echo.v2"]).await;
        let own = client.stream.local_addr().unwrap();
        for (asked, expected) in [
            ("uri?", format!("ws://{addr}/echo/a?member")),
            ("room?", "a of 1".to_owned()),
            ("subprotocol?", "Some(\"echo.v2\")".to_owned()),
            ("peer?", format!("Some({own})")),
            ("who?", "ann".to_owned()),
        ] {
            client.text(asked).await;
            client.expect_text(&expected).await;
        }
        assert_eq!((container.room("a").len(), container.principal("ann").len()), (1, 1));
        container.room("a").async_remote().send_text("to the room");
        client.expect_text("to the room").await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn each_ping_has_one_pong_and_ours_are_answered() {
    let (_container, _, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        for n in 0..200 {
            client.send(0x80 | PING, format!("{n}")).await;
            assert_eq!(client.expect(PONG).await, format!("{n}").into_bytes());
        }
        client.text("after").await;
        client.expect_text("after").await;
        client.text("ping").await;
        assert_eq!(client.expect(PING).await, b"ours");
        client.expect_text("pinged").await;
    }
}

#[tokio::test]
async fn connection_pings_a_silent_peer_and_ends_it_when_nothing_comes() {
    let short = Duration::from_millis(400);
    let (_container, journal, addrs) = hosts(builder().ping_interval(Some(short / 4)).idle_timeout(Some(short))).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        for _ in 0..6 {
            let ping = client.expect(PING).await;
            client.send(0x80 | PONG, ping).await;
        }
        // from here on it says nothing
        let close = loop {
            match client.frame().await.unwrap() {
                frame if frame.opcode == PING => {}
                frame => break frame,
            }
        };
        assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &1001u16.to_be_bytes()[..]));
        client.close(1001, "").await;
        client.expect_end().await;
        assert!(journal.next().await.starts_with("closed 1006"));
        journal.expect("served 1006").await;
    }
}

#[tokio::test]
async fn codes_and_phrases_travel_both_ways() {
    let (_container, journal, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.close(4321, "so long").await;
        assert_eq!(client.expect_close(4321).await, "so long");
        client.expect_end().await;
        journal.expect("closed 4321 \"so long\" by Peer").await;
        journal.expect("served 4321").await;

        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.send(0x80 | CLOSE, "").await;
        assert_eq!(client.expect(CLOSE).await, b"");
        client.expect_end().await;
        journal.expect("closed 1005 \"\" by Peer").await;
        journal.expect("served 1005").await;

        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.text("bye").await;
        assert_eq!(client.expect_close(4001).await, "enough");
        client.close(4001, "").await;
        client.expect_end().await;
        // the reply comes too late
        journal.expect("error, protocol false, too big false").await;
        journal.expect("closed 4001 \"enough\" by Application").await;
        journal.expect("served 4001").await;
    }
}

#[tokio::test]
async fn messages_before_a_close_are_answered_before_it() {
    let (_container, _, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        let both = [support::frame(0x81, b"last words"), support::frame(0x88, &1000u16.to_be_bytes())].concat();
        client.send_raw(&both).await;
        client.expect_text("last words").await;
        client.expect_close(1000).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn vanished_peer_is_reported_only_to_on_close() {
    let (container, journal, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.text("there").await;
        client.expect_text("there").await;
        drop(client);
        assert!(journal.next().await.starts_with("closed 1006"));
        journal.expect("served 1006").await;
        assert!(container.sessions().is_empty());
    }
}

#[tokio::test]
async fn message_above_the_limit_is_1009() {
    let (_container, journal, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.binary(&vec![0; (64 << 10) + 1]).await;
        client.expect_close(1009).await;
        journal.expect("error, protocol false, too big true").await;
        client.close(1009, "").await;
        client.expect_end().await;
        assert!(journal.next().await.starts_with("closed 1009"));
        journal.expect("served 1009").await;
    }
}

#[tokio::test]
async fn violations_that_tungstenite_finds_have_their_codes() {
    let (_container, journal, [_, addr]) = hosts(builder()).await;
    let unmasked = vec![0x81, 1, b'x'];
    for (bytes, code) in [
        (unmasked, 1002),
        (support::frame(0xc1, b"reserved bit"), 1002),
        (support::frame(0x80, b"continues nothing"), 1002),
        (support::frame(0x81, b"\xff"), 1007),
        // the header of more than tungstenite takes
        ([&[0x82, 0xff][..], &(1u64 << 30).to_be_bytes(), &[0; 4]].concat(), 1009),
    ] {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.send_raw(&bytes).await;
        client.expect_close(code).await;
        let too_big = code == 1009;
        journal.expect(&format!("error, protocol {}, too big {too_big}", !too_big)).await;
        client.close(code, "").await;
        client.expect_end().await;
        let noted = [journal.next().await, journal.next().await];
        assert!(noted.iter().any(|line| line.starts_with(&format!("closed {code}"))), "{noted:?}");
    }
}

#[tokio::test]
async fn violation_behind_axum_ends_the_connection() {
    let (_container, journal, [addr, _]) = hosts(builder()).await;
    let mut client = Client::connect(addr, "/echo/lobby").await;
    client.send_raw(&[0x81, 1, b'x']).await;
    client.expect_end().await;
    assert!(journal.next().await.starts_with("closed 1006"));
}

#[tokio::test]
async fn slow_reader_gets_everything_and_delays_the_queue() {
    // no more than the queue has and the sockets take
    let (container, _, addrs) = hosts(builder().send_queue(8, 2 << 20)).await;
    for addr in addrs {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut client = Client::upgrade(soon(socket.connect(addr)).await.unwrap(), "/echo/lobby").await;
        client.text("there").await;
        client.expect_text("there").await;
        let sessions = container.sessions();
        let session = sessions.iter().next().unwrap();
        let mut sent = 0u8;
        // until it is refused: some of it is with the kernel and the library
        let refused = loop {
            assert!(sent < 200, "the queue has no bound");
            let mut message = vec![0; 512 << 10];
            message[0] = sent;
            match session.async_remote().send_binary(message).queued() {
                Ok(_) => sent += 1,
                Err(error) if session.queued_messages() >= 4 => break error,
                Err(_) => {}
            }
            tokio::task::yield_now().await;
        };
        assert!(refused.is_queue_full(), "{refused}");
        for n in 0..sent {
            let message = client.expect(BINARY).await;
            assert_eq!((message.len(), message[0]), (512 << 10, n));
        }
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn peer_that_never_reads_is_disconnected() {
    let (container, journal, addrs) = hosts(builder().send_timeout(Duration::from_millis(300))).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.text("there").await;
        client.expect_text("there").await;
        let sessions = container.sessions();
        let session = sessions.iter().next().unwrap();
        // more than the kernel keeps
        let error = soon(session.basic_remote().send_binary(vec![0; 15 << 20])).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(journal.next().await.starts_with("closed 1006"));
        journal.expect("served 1006").await;
    }
}

#[tokio::test]
async fn shutdown_ends_them_with_1001_and_refuses_the_next_with_1013() {
    let (container, journal, addrs) = hosts(builder()).await;
    let mut clients = Vec::new();
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.text("there").await;
        client.expect_text("there").await;
        clients.push(client);
    }
    let own = container.clone();
    let shutdown = tokio::spawn(async move { own.shutdown(Duration::from_secs(10)).await });
    for client in &mut clients {
        client.expect_close(1001).await;
        client.close(1001, "").await;
        client.expect_end().await;
    }
    let shutdown = soon(shutdown).await.unwrap();
    assert_eq!((shutdown.closed, shutdown.cut), (2, 0));
    for _ in 0..4 {
        journal.next().await;
    }
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.expect_close(1013).await;
        client.close(1013, "").await;
        client.expect_end().await;
        journal.expect("refused 503").await;
    }
}

#[tokio::test]
async fn silent_peers_are_cut_when_a_shutdown_has_waited_long_enough() {
    let (container, _, addrs) = hosts(builder().close_timeout(Duration::from_secs(600))).await;
    let mut clients = Vec::new();
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.text("there").await;
        client.expect_text("there").await;
        clients.push(client);
    }
    let shutdown = soon(container.shutdown(Duration::from_millis(300))).await;
    assert_eq!((shutdown.closed, shutdown.cut), (0, 2));
    for client in &mut clients {
        client.expect_close(1001).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_closed_with_1008() {
    let (container, journal, addrs) = hosts(builder()).await;
    for addr in addrs {
        let own = format!("Origin: http://{addr}");
        let mut client = Client::connect_with(addr, "/echo/lobby", &[&own]).await;
        client.text("there").await;
        client.expect_text("there").await;
        drop(client);
        journal.next().await;
        journal.next().await;
        let mut client = Client::connect_with(addr, "/echo/lobby", &["Origin: http://evil.example"]).await;
        client.expect_close(1008).await;
        client.close(1008, "").await;
        client.expect_end().await;
        journal.expect("refused 403").await;
        assert!(container.sessions().is_empty());
    }
}

#[tokio::test]
async fn parts_are_refused_where_they_are_sent_and_the_session_goes_on() {
    let (_container, _, addrs) = hosts(builder()).await;
    for addr in addrs {
        let mut client = Client::connect(addr, "/echo/lobby").await;
        client.text("parts").await;
        let received = String::from_utf8(client.expect(TEXT).await).unwrap();
        assert!(received.contains("cannot be sent in parts"), "{received}");
        client.text("still here").await;
        client.expect_text("still here").await;
    }
}

#[tokio::test]
async fn another_stack_of_tungstenite_understands_it() {
    let (_container, _, addrs) = hosts(builder()).await;
    for addr in addrs {
        let (mut client, _) = soon(tokio_tungstenite::connect_async(format!("ws://{addr}/echo/x"))).await.unwrap();
        soon(client.send(tungstenite::Message::text("hello"))).await.unwrap();
        assert_eq!(soon(client.next()).await.unwrap().unwrap().into_text().unwrap().as_str(), "hello");
        soon(client.close(None)).await.unwrap();
        assert!(matches!(soon(client.next()).await, Some(Ok(tungstenite::Message::Close(_)))));
        assert!(soon(client.next()).await.is_none());
    }
}

// ---- what is refused before anything is served ----

#[server_endpoint("/parts")]
#[derive(Default)]
struct InParts;

impl InParts {
    #[on_message]
    fn part(&self, _part: &[u8], _last: bool) {}
}

#[server_endpoint("/stream")]
#[derive(Default)]
struct Streamed;

impl Streamed {
    #[on_message]
    async fn read(&self, _text: TextStream) {}
}

#[server_endpoint("/small", compression = on)]
#[derive(Default)]
struct Small;

#[tokio::test]
async fn endpoints_with_unsupported_options_are_refused() {
    let container = builder().build().unwrap();
    for (adopted, names) in [
        (container.adopt::<InParts>(), ["InParts", "`#[on_message]` for binary takes messages in parts"]),
        (container.adopt::<Streamed>(), ["Streamed", "`#[on_message]` for text takes messages as a stream"]),
        (container.adopt::<Small>(), ["Small", "compression"]),
        (container.adopt::<Echo>(), ["Echo", "State<"]),
    ] {
        let error = adopted.unwrap_err();
        assert!(error.is_deployment());
        assert!(names.iter().all(|name| error.to_string().contains(name)), "{error}");
    }
}

#[server_endpoint("/members", configurator = Door, roles("member"))]
#[derive(Default)]
struct Members;

impl Members {
    #[on_message]
    fn text(&self, _message: &str, session: &Session) -> String {
        session.properties().get::<u8>().unwrap().to_string()
    }
}

#[derive(Default)]
struct Door;

impl Configurator<Members> for Door {
    async fn modify_handshake(
        &self,
        _request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        tokio::task::yield_now().await;
        response.properties().insert(42u8);
        Ok(())
    }
}

#[tokio::test]
async fn configurator_and_roles_apply() {
    let container = builder().build().unwrap();
    let (adopted, journal) = (container.adopt::<Members>().unwrap(), Journal::default());
    for addr in [
        behind_axum(adopted.clone(), journal.clone()).await,
        behind_tungstenite(adopted.clone(), journal.clone()).await,
    ] {
        let mut client = Client::connect(addr, "/echo/x?member").await;
        client.text("?").await;
        client.expect_text("42").await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        journal.expect("served 1000").await;
        let mut client = Client::connect(addr, "/echo/x").await;
        client.expect_close(1008).await;
        client.close(1008, "").await;
        client.expect_end().await;
        journal.expect("refused 401").await;
    }
}

struct Plain;

impl Endpoint for Plain {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_, text: String| text.to_uppercase()))
    }
}

#[tokio::test]
async fn endpoint_without_annotations_is_adopted() {
    let container = builder().build().unwrap();
    let adopted = container.adopt_config(EndpointConfig::new("/plain", || Plain)).unwrap();
    let addr = behind_tungstenite(adopted, Journal::default()).await;
    let mut client = Client::connect(addr, "/plain").await;
    client.text("hello").await;
    client.expect_text("HELLO").await;
}
