//! Rooms: joined and left by name, across endpoints, and never by a session that has ended.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use endpoint_runtime::prelude::*;
use support::{Client, Journal, Log, TestServer, soon};

/// Does to rooms what it is told.
#[server_endpoint("/one")]
#[derive(Default)]
struct One {
    journal: Option<Journal>,
}

fn rooms(command: &str, session: &Session) -> String {
    match command.split_once(' ') {
        Some(("join", room)) => session.join(room).is_member().to_string(),
        Some(("leave", room)) => session.leave(room).to_string(),
        Some(("count", room)) => session.room(room).len().to_string(),
        Some(("say", rest)) => {
            let (room, line) = rest.split_once(' ').unwrap();
            format!("{:?}", session.room(room).except(session).async_remote().send_text(line).sent)
        }
        _ => {
            let mut names = session.rooms();
            names.sort();
            names.join(" ")
        }
    }
}

impl One {
    #[on_message]
    fn command(&mut self, command: &str, session: &Session) -> String {
        rooms(command, session)
    }

    #[on_close]
    fn closed(&mut self, session: &Session) {
        if let Some(journal) = &self.journal {
            let mut rooms = session.rooms();
            rooms.sort();
            let still_in = rooms.iter().any(|room| session.room(room).contains(session));
            journal
                .note(format!("was in {rooms:?}, is in them {still_in}, joins {}", session.join("late").is_member()));
        }
    }
}

#[server_endpoint("/two")]
#[derive(Default)]
struct Two;

impl Two {
    #[on_message]
    async fn command(&mut self, command: String, session: &Session) -> String {
        rooms(&command, session)
    }
}

async fn serve() -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container =
        ServerContainer::builder().endpoint_with(move |_| Ok(One { journal: Some(own.clone()) })).register::<Two>();
    (TestServer::with(container).await, journal)
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

#[tokio::test]
async fn rooms_are_joined_and_left_by_name() {
    let (server, _) = serve().await;
    let mut client = server.connect("/one").await;
    for (command, answer) in [
        ("count blue", "0"),
        ("leave blue", "false"),
        ("join blue", "true"),
        ("join blue", "true"),
        ("count blue", "1"),
        ("join red", "true"),
        ("which", "blue red"),
        ("leave blue", "true"),
        ("leave blue", "false"),
        ("which", "red"),
        ("count blue", "0"),
        ("count red", "1"),
    ] {
        asked(&mut client, command, answer).await;
    }
}

#[tokio::test]
async fn message_to_a_room_reaches_exactly_its_members_at_every_endpoint() {
    let (server, _) = serve().await;
    let mut members = [server.connect("/one").await, server.connect("/one").await, server.connect("/two").await];
    let mut stranger = server.connect("/two").await;
    for member in &mut members {
        asked(member, "join blue", "true").await;
    }
    asked(&mut stranger, "join red", "true").await;
    asked(&mut members[0], "say blue hello", "2").await;
    members[1].expect_text("hello").await;
    members[2].expect_text("hello").await;
    // one need not be in it, and the container speaks as well
    asked(&mut stranger, "say blue anyone?", "3").await;
    for member in &mut members {
        member.expect_text("anyone?").await;
    }
    assert_eq!(server.container.room("blue").async_remote().send_text("all").sent, 3);
    for member in &mut members {
        member.expect_text("all").await;
    }
    stranger.expect_silence().await;
    assert!(server.container.room("green").is_empty());
}

#[tokio::test]
async fn session_that_ends_leaves_its_rooms_before_on_close_and_joins_none() {
    for violent in [false, true] {
        let (server, journal) = serve().await;
        let (mut client, mut other) = (server.connect("/one").await, server.connect("/two").await);
        asked(&mut client, "join blue", "true").await;
        asked(&mut client, "join red", "true").await;
        asked(&mut other, "join blue", "true").await;
        if violent {
            drop(client);
        } else {
            client.close(1000, "").await;
        }
        journal.expect(r#"was in ["blue", "red"], is in them false, joins false"#).await;
        asked(&mut other, "count blue", "1").await;
        asked(&mut other, "count red", "0").await;
        asked(&mut other, "count late", "0").await;
    }
}

#[tokio::test]
async fn rooms_of_two_containers_are_different_rooms() {
    let servers = [serve().await.0, serve().await.0];
    for server in &servers {
        let mut client = server.connect("/one").await;
        asked(&mut client, "join blue", "true").await;
        asked(&mut client, "count blue", "1").await;
    }
}

#[tokio::test]
async fn recipients_can_be_filtered() {
    let (server, _) = serve().await;
    let mut clients = [server.connect("/one").await, server.connect("/one").await, server.connect("/two").await];
    for client in &mut clients {
        asked(client, "join blue", "true").await;
    }
    let at_one = |session: &&Session| session.uri().ends_with("/one");
    let report = server.container.room("blue").filter(at_one).async_remote().send_text("one");
    assert_eq!(report.sent, 2);
    clients[0].expect_text("one").await;
    clients[1].expect_text("one").await;
    clients[2].expect_silence().await;
    let first = server.container.sessions().iter().find(|session| session.uri().ends_with("/two")).unwrap().clone();
    let without = server.container.sessions().except(&first).filter(|_| true);
    assert_eq!((without.len(), without.filter(|_| false).len()), (2, 0));
}

#[tokio::test]
async fn snapshot_skips_sessions_closed_since() {
    let (server, _) = serve().await;
    let mut clients = [server.connect("/one").await, server.connect("/two").await];
    for client in &mut clients {
        asked(client, "join blue", "true").await;
    }
    let (everybody, blue) = (server.container.sessions(), server.container.room("blue").sessions());
    assert_eq!((everybody.len(), blue.len()), (2, 2));
    let first = everybody.iter().next().unwrap().clone();
    first.close();
    for snapshot in [&everybody, &blue, &server.container.sessions()] {
        assert_eq!(snapshot.len(), 1);
        assert!(snapshot.iter().all(|session| *session != first));
    }
    // nobody enters a snapshot later
    let mut third = server.connect("/two").await;
    asked(&mut third, "join blue", "true").await;
    assert_eq!((everybody.len(), blue.len(), server.container.room("blue").len()), (1, 1, 2));
}

#[tokio::test]
async fn several_sessions_can_be_excluded() {
    let (server, _) = serve().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect("/one").await;
        asked(&mut client, "join blue", "true").await;
        clients.push(client);
    }
    let all: Vec<_> = server.container.room("blue").sessions().iter().cloned().collect();
    let left = server.container.room("blue").except(&all[0]).except(&all[1]).except(&all[0]);
    assert_eq!(left.iter().collect::<Vec<_>>(), [&all[2]]);
    assert_eq!(server.container.room("blue").except(&all[0]).except(&all[0]).len(), 2);
}

/// More than a chunk of the list has, so that others change their places all the time.
const STAYING: usize = 40;
const RESTLESS: usize = 40;
const LINES: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_to_a_room_reaches_its_members_once_while_others_come_and_go() {
    let (server, _) = serve().await;
    let mut staying = Vec::new();
    for index in 0..STAYING + RESTLESS {
        let mut client = server.connect("/two").await;
        if index % 2 == 0 {
            asked(&mut client, "join blue", "true").await;
            staying.push(client);
        } else {
            // it is not heard, and must not be gone
            tokio::spawn(async move { while client.frame().await.is_some() {} });
        }
    }
    // a client has its answer a moment before the session is one of the container's
    soon(async {
        while server.container.sessions().len() < STAYING + RESTLESS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stay: Vec<_> = server.container.room("blue").sessions().iter().map(Session::id).collect();
    let restless: Vec<_> =
        server.container.sessions().iter().filter(|session| !stay.contains(&session.id())).cloned().collect();
    assert_eq!(restless.len(), RESTLESS);

    let done = Arc::new(AtomicBool::new(false));
    let comers: Vec<_> = (0..2)
        .map(|half| {
            let (restless, done) = (restless.clone(), done.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for session in restless.iter().skip(half).step_by(2) {
                        assert!(session.join("blue").is_member());
                    }
                    for session in restless.iter().skip(half).step_by(2) {
                        assert!(session.leave("blue"));
                    }
                }
            })
        })
        .collect();
    let container = server.container.clone();
    let sender = tokio::task::spawn_blocking(move || {
        for number in 0..LINES {
            let room = container.room("blue");
            let mut ids: Vec<_> = room.sessions().iter().map(Session::id).collect();
            ids.sort();
            assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "a session is there twice");
            assert!(stay.iter().all(|id| ids.binary_search(id).is_ok()), "one that stays is missing");
            room.async_remote().send_text(number.to_string());
        }
    });
    for client in &mut staying {
        for number in 0..LINES {
            client.expect_text(&number.to_string()).await;
        }
        client.expect_silence().await;
    }
    soon(sender).await.unwrap();
    done.store(true, Ordering::Relaxed);
    for comer in comers {
        comer.join().unwrap();
    }
    assert_eq!(server.container.room("blue").len(), STAYING);
}

#[tokio::test]
async fn session_joins_rooms_up_to_the_limit_and_logs_one_warning() {
    let log = Log::capture();
    let server = TestServer::with(ServerContainer::builder().register::<Two>().max_rooms_per_session(2)).await;
    let mut client = server.connect("/two").await;
    for (command, answer) in [
        ("join blue", "true"),
        ("join red", "true"),
        ("join green", "false"),
        // where it is already
        ("join red", "true"),
        ("join green", "false"),
        ("which", "blue red"),
        ("count green", "0"),
        ("leave red", "true"),
        ("join green", "true"),
        ("which", "blue green"),
        ("join red", "false"),
    ] {
        asked(&mut client, command, answer).await;
    }
    assert_eq!(log.lines("max_rooms_per_session").len(), 1, "once for a session");
    // each session has its own
    let mut other = server.connect("/two").await;
    for (command, answer) in [("join red", "true"), ("join blue", "true"), ("join green", "false")] {
        asked(&mut other, command, answer).await;
    }
    assert_eq!(log.lines("max_rooms_per_session").len(), 2);
}

#[tokio::test]
async fn session_may_be_in_ten_thousand_rooms_by_default() {
    let (server, _) = serve().await;
    let mut client = server.connect("/one").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    for number in 0..10_000 {
        assert!(session.join(number.to_string()).is_member());
    }
    assert!(!session.join("one more").is_member() && session.join("9999").is_member());
    assert_eq!(session.rooms().len(), 10_000);
    client.close(1000, "").await;
    client.expect_close(1000).await;
    // all of them were left before the answer
    assert!((0..10_000).all(|number| server.container.room(number.to_string()).is_empty()));
}

#[tokio::test]
async fn join_takes_the_same_time_however_many_rooms_a_session_is_in() {
    const MANY: usize = 40;
    let server = TestServer::with(ServerContainer::builder().register::<Two>().max_rooms_per_session(usize::MAX)).await;
    let mut client = server.connect("/two").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    let times: Vec<_> = (0..MANY)
        .map(|thousand| {
            let start = Instant::now();
            for number in 0..1000 {
                assert!(session.join(format!("{thousand} {number}")).is_member());
            }
            start.elapsed()
        })
        .collect();
    // the quickest, since others need the processor as well
    let late = times[MANY - 10..].iter().min().unwrap();
    assert!(*late < 10 * times[0] + Duration::from_millis(20), "{times:?}");
    let start = Instant::now();
    for number in 0..1000 {
        assert!(session.leave(format!("{} {number}", MANY - 1)));
    }
    let left = start.elapsed();
    assert!(left < 10 * times[0] + Duration::from_millis(200), "{left:?}, {times:?}");
}

#[tokio::test]
async fn session_returns_its_own_container() {
    let (server, _) = serve().await;
    let mut client = server.connect("/one").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    assert_eq!(session.container().as_ref(), Some(&server.container));
    assert_ne!(session.container().as_ref(), Some(&serve().await.0.container));
}
