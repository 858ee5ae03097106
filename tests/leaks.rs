//! What a session keeps after its end: nothing of the application's, though each of its values may hold sessions.

mod support;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Endpoint, EndpointConfig, MessageHandler, MessageKind, Principal, WeakSession};
use support::{Client, DEADLINE, Log, TestServer, soon};

/// Counts what is kept: each value that the application gives a session has a clone.
type Token = Arc<()>;

/// What an application does with its session when it opens.
type Keep = fn(&Session, &Token);

/// Keeps what a test says, and its session.
struct Holder {
    keep: Keep,
    token: Token,
    opened: Opened,
    own: Option<(Session, Token)>,
}

/// The sessions that a test's endpoints have opened.
type Opened = Arc<Mutex<Vec<WeakSession>>>;

impl Endpoint for Holder {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        self.own = Some((session.clone(), self.token.clone()));
        (self.keep)(session, &self.token);
        self.opened.lock().unwrap().push(session.downgrade());
        Ok(())
    }

    async fn on_close(&mut self, session: &Session, _: CloseReason) -> Result<(), Error> {
        tokio::task::yield_now().await;
        // all of it is still there
        if let Some(kept) = session.properties().get::<Kept>() {
            assert!(Arc::strong_count(&kept.1) > 1);
        }
        Ok(())
    }
}

/// Some value that holds a session.
#[derive(Clone)]
struct Kept(#[allow(dead_code)] Session, Token);

struct User(Mutex<Vec<Session>>, #[allow(dead_code)] Token);

impl Principal for User {
    fn name(&self) -> &str {
        "user"
    }
}

/// A property that two sessions have of each other.
struct Partner(#[allow(dead_code)] Session, #[allow(dead_code)] Token);

const KEEPERS: [(&str, Keep); 9] = [
    ("handler of text", |session, token| {
        let kept = Kept(session.clone(), token.clone());
        session.add_message_handler(MessageHandler::text(move |_, line: String| (&kept, line).1)).unwrap();
    }),
    ("handlers that wait", |session, token| {
        let kept = Kept(session.clone(), token.clone());
        let handler = MessageHandler::text_async(move |session, _: String| {
            let kept = (session.clone(), kept.clone());
            async move {
                std::future::pending::<()>().await;
                drop(kept);
            }
        });
        session.add_message_handler(handler).unwrap();
        let kept = Kept(session.clone(), token.clone());
        session.add_message_handler(MessageHandler::binary_parts(move |_, _, last| (&kept, last).1)).unwrap();
    }),
    ("a handler that was removed, in a handler", |session, token| {
        let kept = Kept(session.clone(), token.clone());
        session.add_message_handler(MessageHandler::pong(move |_, _| drop(kept.clone()))).unwrap();
        let removed = session.remove_message_handler(MessageKind::Pong).unwrap();
        let text = MessageHandler::text(move |_, line: String| format!("{line} {:?}", removed.kind()));
        session.add_message_handler(text).unwrap();
    }),
    ("property", |session, token| {
        session.properties().insert(Kept(session.clone(), token.clone()));
    }),
    ("properties of each other", |session, token| {
        for other in session.open_sessions().iter() {
            session.properties().insert(Partner(other.clone(), token.clone()));
            other.properties().insert(Partner(session.clone(), token.clone()));
        }
    }),
    ("principal", |session, token| {
        session.reauthenticate(User(Mutex::default(), token.clone()));
        let user = session.principal::<User>().unwrap();
        user.0.lock().unwrap().push(session.clone());
    }),
    ("callback of a sent message", |session, token| {
        let kept = Kept(session.clone(), token.clone());
        // more than the kernel takes
        for _ in 0..8 {
            let kept = kept.clone();
            session.async_remote().send_binary(vec![0; 1 << 20]).on_complete(move |_| drop(kept));
        }
    }),
    ("writer that is not finished", |session, token| {
        let writer = session.basic_remote().text_writer();
        session.properties().insert(Mutex::new((writer, session.clone(), token.clone())));
    }),
    ("open sessions", |session, token| {
        session.properties().insert((session.open_sessions(), session.join("room"), token.clone()));
    }),
];

/// Waits until nobody holds the token any more, nor any of the sessions.
async fn released(name: &str, token: &Token, opened: &Opened) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let values = Arc::strong_count(token) - 1;
        let sessions = opened.lock().unwrap().iter().filter(|session| session.upgrade().is_some()).count();
        // the endpoints' own
        if sessions == 0 && values == 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{name}: {sessions} sessions and {values} values are kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn holder(keep: Keep, token: &Token, opened: &Opened) -> Holder {
    Holder { keep, token: token.clone(), opened: opened.clone(), own: None }
}

#[tokio::test]
async fn server_session_is_released_with_everything_it_holds() {
    for (name, keep) in KEEPERS {
        for polite in [true, false] {
            let (token, opened) = (Token::default(), Opened::default());
            let make = {
                // weak: the constructor outlives the sessions
                let (token, opened) = (Arc::downgrade(&token), opened.clone());
                move || holder(keep, &token.upgrade().unwrap(), &opened)
            };
            let config = EndpointConfig::new("/x", make);
            let limit = Duration::from_millis(100);
            let container = ServerContainer::builder().add_endpoint_config(config).close_timeout(limit);
            let server = TestServer::with(container).await;
            let mut clients = Vec::new();
            for _ in 0..20 {
                let mut client = server.connect("/x").await;
                client.text("hello").await;
                clients.push(client);
            }
            while opened.lock().unwrap().len() < 20 {
                tokio::task::yield_now().await;
            }
            assert!(Arc::strong_count(&token) > 20, "{name}");
            for client in &mut clients {
                if polite {
                    client.close(1000, "").await;
                }
            }
            drop(clients);
            released(name, &token, &opened).await;
        }
    }
}

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn echo(&self, text: String) -> String {
        text
    }
}

#[tokio::test]
async fn client_session_is_released_with_everything_it_holds() {
    let server = TestServer::of::<Echo>().await;
    for (name, keep) in KEEPERS {
        for ours in [true, false] {
            let (token, opened) = (Token::default(), Opened::default());
            let container = ClientContainer::builder().close_timeout(Duration::from_millis(100)).build();
            let mut sessions = Vec::new();
            for _ in 0..5 {
                let uri = format!("ws://{}/echo", server.addr);
                let holder = holder(keep, &token, &opened);
                sessions.push(soon(container.connect_endpoint(holder, uri)).await.unwrap());
            }
            if ours {
                sessions.iter().for_each(Session::close);
            } else {
                server.container.sessions().iter().for_each(Session::close);
            }
            drop(sessions);
            released(name, &token, &opened).await;
        }
    }
}

#[test]
fn session_is_released_when_its_runtime_goes() {
    for (name, keep) in KEEPERS {
        let (token, opened) = (Token::default(), Opened::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(async {
            let (weak, all) = (Arc::downgrade(&token), opened.clone());
            let make = move || holder(keep, &weak.upgrade().unwrap(), &all);
            let server = TestServer::with(ServerContainer::builder().add_endpoint("/x", make)).await;
            let _client = server.connect("/x").await;
            while opened.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            server
        });
        drop((server, runtime));
        let kept = opened.lock().unwrap()[0].upgrade().is_some();
        assert_eq!((kept, Arc::strong_count(&token)), (false, 1), "{name}");
    }
}

#[tokio::test]
async fn nothing_is_added_to_a_session_that_has_ended() {
    for had_some in [false, true] {
        let kept: Arc<OnceLock<Session>> = Arc::default();
        let own = kept.clone();
        let server = TestServer::with(ServerContainer::builder().add_endpoint("/x", move || Ender(own.clone()))).await;
        let mut client = server.connect("/x").await;
        client.text("").await;
        let session = server.container.sessions().iter().next().cloned();
        let session = session.or_else(|| kept.get().cloned()).unwrap();
        let token = Token::default();
        if had_some {
            session.properties().insert(token.clone());
        }
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
        let ended = session.downgrade();
        soon(async {
            // its handlers go last
            while !session.add_message_handler(MessageHandler::text(|_, _: String| ())).is_err_and(|e| e.is_closed()) {
                session.remove_message_handler(MessageKind::Text);
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(session.properties().get::<Token>().is_none());
        assert!(session.properties().insert(Kept(session.clone(), token.clone())).is_none());
        assert!(session.properties().get::<Kept>().is_none());
        session.reauthenticate(User(Mutex::new(vec![session.clone()]), token.clone()));
        assert!(session.principal::<User>().is_none() && server.container.principal("user").is_empty());
        let handler = Kept(session.clone(), token.clone());
        let added = session.add_message_handler(MessageHandler::pong(move |_, _| drop(handler.clone())));
        assert!(added.unwrap_err().is_closed());
        assert!(session.message_handlers().is_empty() && !session.join("room").is_member());
        assert_eq!(Arc::strong_count(&token), 1);
        drop((session, server));
        let own = Arc::try_unwrap(kept).map(OnceLock::into_inner);
        drop(own);
        soon(async {
            while ended.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Lets others have its session.
struct Ender(Arc<OnceLock<Session>>);

impl Endpoint for Ender {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        let _ = self.0.set(session.clone());
        Ok(())
    }
}

#[tokio::test]
async fn added_handler_receives_its_session() {
    let server = TestServer::with(ServerContainer::builder().add_endpoint("/x", || Telling)).await;
    let mut client = server.connect("/x").await;
    client.text("a").await;
    let id = server.container.sessions().iter().next().unwrap().id();
    for (opcode, kind) in [(support::TEXT, "now"), (support::BINARY, "later"), (support::PONG, "pong")] {
        if kind != "now" {
            client.send(0x80 | opcode, "a").await;
        }
        client.expect_text(&format!("{kind} {id}")).await;
    }
    // one that two sessions share is called with each
    let mut other: Client = server.connect("/x").await;
    other.text("a").await;
    let sessions = server.container.sessions();
    let second = sessions.iter().find(|session| session.id() != id).unwrap();
    other.expect_text(&format!("now {}", second.id())).await;
}

struct Telling;

impl Endpoint for Telling {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|session, _: String| {
            session.async_remote().send_text(format!("now {}", session.id()));
        }))?;
        session.add_message_handler(MessageHandler::binary_async(|session, _: Vec<u8>| {
            let session = session.clone();
            async move { session.basic_remote().send_text(format!("later {}", session.id())).await }
        }))?;
        session.add_message_handler(MessageHandler::pong(|session, _| format!("pong {}", session.id())))
    }
}

/// Asks its session for its handlers when it is dropped.
struct Curious(Session);

impl Drop for Curious {
    fn drop(&mut self) {
        self.0.message_handlers();
        self.0.properties().get::<u8>();
        self.0.principal::<User>();
    }
}

/// A principal with such a destructor.
struct CuriousUser(#[allow(dead_code)] Curious);

impl Principal for CuriousUser {
    fn name(&self) -> &str {
        "user"
    }
}

#[tokio::test]
async fn destructor_of_a_value_may_use_the_session() {
    let server = TestServer::with(ServerContainer::builder().add_endpoint("/x", || Telling)).await;
    let mut client = server.connect("/x").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    let own = session.clone();
    let working = std::thread::spawn(move || {
        // there is one: it is refused, and dropped
        let curious = Curious(own.clone());
        let refused = MessageHandler::text(move |_, _: String| {
            let _ = &curious;
        });
        assert!(own.add_message_handler(refused).unwrap_err().is_duplicate_handler());
        own.properties().insert(Curious(own.clone()));
        own.properties().insert(Curious(own.clone()));
        own.reauthenticate(CuriousUser(Curious(own.clone())));
        own.reauthenticate(CuriousUser(Curious(own.clone())));
        own.remove_message_handler(MessageKind::Pong);
        let curious = Curious(own.clone());
        own.add_message_handler(MessageHandler::pong(move |_, _| {
            let _ = &curious;
        }))
        .unwrap();
    });
    soon(async {
        while !working.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    working.join().unwrap();
    let weak = session.downgrade();
    drop(session);
    client.close(1000, "").await;
    client.expect_close(1000).await;
    soon(async {
        while weak.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// ---- destructors that panic ----

/// Panics when it is dropped for the last time.
#[derive(Clone)]
struct Bomb(#[allow(dead_code)] Arc<Fuse>);

struct Fuse;

impl Drop for Fuse {
    fn drop(&mut self) {
        panic!("boom");
    }
}

fn bomb() -> Bomb {
    Bomb(Arc::new(Fuse))
}

impl Principal for Bomb {
    fn name(&self) -> &str {
        "bomb"
    }
}

/// Has such a value at a place that a test names.
struct Armed {
    place: &'static str,
    own: Option<Bomb>,
}

impl Endpoint for Armed {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        let handler = |bomb: Bomb| MessageHandler::text(move |_, line: String| (&bomb, line).1);
        match self.place {
            "the endpoint" => self.own = Some(bomb()),
            "a property" => drop(session.properties().insert(bomb())),
            "a principal" => session.reauthenticate(bomb()),
            "a message handler" => session.add_message_handler(handler(bomb()))?,
            "a message handler that was removed" => {
                session.add_message_handler(handler(bomb()))?;
                // the connection has looked
                session.basic_remote().send_text("").await?;
                drop(session.remove_message_handler(MessageKind::Text));
            }
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test]
async fn panic_of_a_destructor_ends_nothing() {
    let places =
        ["the endpoint", "a property", "a principal", "a message handler", "a message handler that was removed"];
    for place in places {
        let log = Log::capture();
        let container = ServerContainer::builder().add_endpoint("/x", move || Armed { place, own: None });
        let server = TestServer::with(container).await;
        for _ in 0..2 {
            let mut client = server.connect("/x").await;
            if place.ends_with("removed") {
                client.expect_text("").await;
            }
            client.expect_silence().await;
            // as ever, with a close frame and an end of TCP
            client.close(1000, "").await;
            client.expect_close(1000).await;
            client.expect_end().await;
        }
        let shutdown = server.shutdown().await;
        assert_eq!(shutdown.cut, 0, "{place}");
        assert!(!log.lines("panicked: boom").is_empty(), "{place}: {:?}", log.lines(""));
        assert!(log.lines("a connection's task panicked").is_empty(), "{place}");
    }
}

#[tokio::test]
async fn panic_of_a_states_destructor_ends_no_session() {
    let log = Log::capture();
    let container = ServerContainer::builder().register::<Echo>().state(bomb());
    let server = TestServer::with(container).await;
    let mut client = server.connect("/echo").await;
    client.text("a").await;
    client.expect_text("a").await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    server.shutdown().await;
    // the last that holds it
    drop(session);
    assert_eq!(log.lines("the destructor of a state panicked").len(), 1);
}
