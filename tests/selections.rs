//! Selections of sessions: rooms and users as handles, several rooms at once, several sessions excluded, a session by
//! its ID, the sessions of an endpoint.

mod support;

use std::collections::HashSet;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, HandshakeResponse, InvalidSessionId, Principal, Room};
use support::{Client, Journal, TEXT, TestServer, soon};

struct Name(String);

impl Principal for Name {
    fn name(&self) -> &str {
        &self.0
    }
}

#[derive(Default)]
struct Door;

impl Configurator<Chat> for Door {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        response.set_principal(Name(request.query_string().unwrap_or("nobody").to_owned()));
        Ok(())
    }
}

/// Joins the rooms that its path names, and tells them when it leaves.
#[server_endpoint("/chat/{rooms}", configurator = Door)]
struct Chat(Journal);

impl Chat {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] rooms: &str) {
        rooms.split('+').for_each(|room| assert!(session.join(room).is_member()));
    }

    #[on_message]
    fn echo(&mut self, session: &Session, line: &str) -> String {
        match line {
            "id" => session.id().to_string(),
            "endpoint" => format!("{} {}", session.endpoint().path, session.endpoint().name),
            _ => line.to_owned(),
        }
    }

    #[on_close]
    fn leave(&mut self, session: &Session) {
        let mut rooms = session.rooms();
        rooms.sort();
        for room in &rooms {
            let told = session.room(room).async_remote().send_text(format!("somebody left {room}")).sent;
            self.0.note(format!("{room}: {told} told, member {}", session.room(room).contains(session)));
        }
    }
}

#[server_endpoint("/other")]
#[derive(Default)]
struct Other;

impl Other {
    #[on_message]
    fn echo(&mut self, line: String) -> String {
        line
    }
}

async fn serve() -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Chat(own.clone()))).register::<Other>();
    (TestServer::with(container).await, journal)
}

async fn text_of(client: &mut Client) -> String {
    String::from_utf8(client.expect(TEXT).await).unwrap()
}

/// Connects a client to these rooms, and returns its session, too.
async fn enter(server: &TestServer, rooms: &str, name: &str) -> (Client, Session) {
    let mut client = server.connect(&format!("/chat/{rooms}?{name}")).await;
    client.text("id").await;
    let id: SessionId = text_of(&mut client).await.parse().unwrap();
    (client, server.container.session(id).unwrap())
}

#[tokio::test]
#[allow(clippy::mutable_key_type)] // the hash of a session is its ID
async fn sessions_excluded_one_by_one_or_together_add_up() {
    let (server, _) = serve().await;
    let (mut clients, mut all) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (client, session) = enter(&server, "a", "x").await;
        clients.push(client);
        all.push(session);
    }
    let room = server.container.room("a");
    let [one, two, three, four] = &all[..] else { unreachable!() };
    let left = |selection: endpoint_runtime::OpenSessions| selection.iter().cloned().collect::<HashSet<_>>();
    let rest = HashSet::from([three.clone(), four.clone()]);
    assert_eq!(left(room.except(one).except(two)), rest);
    assert_eq!(left(room.except([one, two])), rest);
    assert_eq!(left(room.except([one.id(), two.id()])), rest);
    assert_eq!(left(room.except(&all[..2])), rest);
    assert_eq!(left(room.except(all[..2].to_vec()).except(one)), rest);
    assert_eq!(left(room.except(one).except(one).except(two)), rest);
    assert_eq!(left(room.except(room.except([three, four]))), rest);
    assert_eq!(left(room.except(one).filter(|session| *session != two)), rest);
    assert_eq!(left(room.filter(|session| *session != two).except(one)), rest);
    let ids: HashSet<SessionId> = [one, two].into_iter().map(Session::id).collect();
    assert_eq!(left(room.except(&ids)), rest);
    assert_eq!(left(room.except(Some(one)).except(None::<&Session>).except(two)), rest);
    assert_eq!(left(room.except([] as [SessionId; 0])).len(), 4);
    assert_eq!(room.except([one, two]).async_remote().send_text("hello").sent, 2);
}

#[tokio::test]
async fn room_is_a_handle_that_sees_who_comes_and_goes() {
    let (server, _) = serve().await;
    let room: Room = server.container.room("a");
    assert!(room.is_empty() && room.name() == "a");
    let (mut ann, first) = enter(&server, "a", "ann").await;
    assert_eq!((room.len(), room.contains(&first)), (1, true));
    let (mut ben, second) = enter(&server, "a+b", "ben").await;
    assert_eq!(room.async_remote().send_text("hello").sent, 2);
    ann.expect_text("hello").await;
    ben.expect_text("hello").await;
    assert!(room.kick(&second) && !room.kick(&second));
    assert_eq!((room.len(), second.is_open(), room.contains(&second)), (1, true, false));
    let reason = CloseReason::truncating(CloseCode::Other(4000), "the game is over");
    assert_eq!(room.close_all(reason), 1);
    ann.expect_close(4000).await;
    soon(first.closed()).await;
    assert!(room.is_empty() && second.is_open());
}

#[tokio::test]
async fn several_rooms_contain_each_session_once() {
    let (server, _) = serve().await;
    let (mut both, _) = enter(&server, "a+b", "ann").await;
    let (mut one, _) = enter(&server, "b", "ben").await;
    let _elsewhere = enter(&server, "c", "cid").await;
    let report = server.container.rooms(["a", "b", "b", "nowhere"]).async_remote().send_text("once");
    assert_eq!(report.sent, 2);
    both.expect_text("once").await;
    one.expect_text("once").await;
    both.text("next").await;
    both.expect_text("next").await;
    assert_eq!(server.container.rooms([] as [&str; 0]).len(), 0);
}

#[tokio::test]
async fn user_is_all_sessions_of_one_principal() {
    let (server, _) = serve().await;
    let (mut phone, session) = enter(&server, "a", "ann").await;
    let (mut desk, _) = enter(&server, "b", "ann").await;
    let _ben = enter(&server, "a", "ben").await;
    let ann = server.container.user("ann");
    assert_eq!((ann.len(), ann.name(), server.container.principal("ann").len()), (2, "ann", 2));
    assert_eq!(ann.except(&session).async_remote().send_text("only the desk").sent, 1);
    desk.expect_text("only the desk").await;
    assert_eq!(ann.close_all(CloseReason::from(CloseCode::ViolatedPolicy)), 2);
    phone.expect_close(1008).await;
    desk.expect_close(1008).await;
}

#[tokio::test]
async fn rooms_are_readable_while_the_session_closes() {
    let (server, journal) = serve().await;
    let (mut stays, _) = enter(&server, "a+b", "stays").await;
    let (mut goes, session) = enter(&server, "a+b", "goes").await;
    goes.close(1000, "").await;
    stays.expect_text("somebody left a").await;
    stays.expect_text("somebody left b").await;
    journal.expect("a: 1 told, member false").await;
    journal.expect("b: 1 told, member false").await;
    // the session is kept here, its rooms are not
    soon(async {
        while !session.rooms().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn session_is_found_by_its_id_while_it_is_open() {
    let (server, _) = serve().await;
    // before the first lookup, and after it
    let early = server.connect("/other").await;
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(enter(&server, "a", "x").await);
    }
    for session in server.container.sessions().iter() {
        let id: SessionId = session.id().to_string().parse().unwrap();
        assert_eq!(server.container.session(id).as_ref(), Some(session));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<SessionId>(&format!("\"{id}\"")).unwrap(), id);
    }
    let error: InvalidSessionId = "short".parse::<SessionId>().unwrap_err();
    assert_eq!(error.to_string(), "a session ID has 32 hexadecimal digits");
    let (mut client, session) = found.pop().unwrap();
    client.close(1000, "").await;
    client.expect_close(1000).await;
    soon(session.closed()).await;
    assert_eq!(server.container.session(session.id()), None);
    drop(early);
}

#[tokio::test]
async fn sessions_of_one_endpoint_are_listed_from_outside() {
    let (server, _) = serve().await;
    let (mut chat, session) = enter(&server, "a", "x").await;
    let mut other = server.connect("/other").await;
    other.text("there").await;
    other.expect_text("there").await;
    assert_eq!(server.container.sessions_of::<Chat>().iter().collect::<Vec<_>>(), [&session]);
    assert_eq!((server.container.sessions_of::<Other>().len(), server.container.sessions().len()), (1, 2));
    chat.text("endpoint").await;
    let told = text_of(&mut chat).await;
    assert!(told.starts_with("/chat/{rooms} ") && told.ends_with("::Chat"), "{told}");
    let info = session.endpoint();
    assert!(info.file.ends_with("selections.rs") && info.line > 0);
    // still listed after its endpoint was removed
    assert!(server.container.remove_endpoint("/chat/{rooms}"));
    assert_eq!(server.container.sessions_of::<Chat>().len(), 1);
}
