//! The end of a session, waited for from outside, and tasks that end with a session.

mod support;

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use endpoint_runtime::Shutdown;
use endpoint_runtime::prelude::*;
use support::{Client, Journal, TestServer, soon};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Notes when it is dropped.
struct Dropped(Journal, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note(format!("{} dropped", self.1));
    }
}

#[server_endpoint("/tasks")]
struct Tasks(Journal);

impl Tasks {
    #[on_open]
    fn open(&mut self, session: &Session) {
        let dropped = Dropped(self.0.clone(), "endless task");
        session.spawn(async move {
            let _dropped = dropped;
            pending::<()>().await;
        });
        let (journal, own) = (self.0.clone(), session.clone());
        tokio::spawn(async move {
            own.closed().await;
            journal.note("closed");
        });
    }

    #[on_message]
    async fn command(&mut self, line: String, session: &Session) -> Option<String> {
        match &*line {
            "work" => {
                let own = session.clone();
                let done = session.spawn(async move {
                    own.basic_remote().send_text("from the task").await.unwrap();
                    7
                });
                assert_eq!(done.await.unwrap(), Some(7));
                Some("worked".into())
            }
            _ => {
                session.close();
                None
            }
        }
    }
}

async fn serve() -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Tasks(own.clone())));
    (TestServer::with(container).await, journal)
}

async fn opened(server: &TestServer) -> (Client, Session) {
    let mut client = server.connect("/tasks").await;
    client.text("work").await;
    client.expect_text("from the task").await;
    client.expect_text("worked").await;
    (client, server.container.sessions().iter().next().unwrap().clone())
}

/// Both notes, in whichever order.
async fn ended(journal: &Journal) {
    let mut notes = [journal.next().await, journal.next().await];
    notes.sort();
    assert_eq!(notes, ["closed", "endless task dropped"]);
}

#[tokio::test]
async fn tasks_end_with_the_session_however_it_ends() {
    for how in ["peer closes", "peer vanishes", "handler closes", "closed from outside"] {
        let (server, journal) = serve().await;
        let (mut client, session) = opened(&server).await;
        match how {
            "peer closes" => client.close(1000, "").await,
            "peer vanishes" => drop(client),
            "handler closes" => client.text("close").await,
            _ => session.close(),
        }
        ended(&journal).await;
        // a task that comes too late does not run
        soon(session.closed()).await;
        let late = session.spawn(async { unreachable!("the session has ended") });
        assert_eq!(soon(late).await.unwrap(), None::<()>, "{how}");
    }
}

#[tokio::test]
async fn shutdown_ends_the_tasks_and_waits_for_them() {
    let (server, journal) = serve().await;
    let (_client, session) = opened(&server).await;
    // it reacts to the end, which takes a moment
    let (finished, own) = (journal.clone(), session.clone());
    session.spawn(async move {
        own.closed().await;
        finished.note("never: the task is dropped at this suspension");
    });
    let (dropping, mut dropped) = oneshot::channel::<()>();
    session.spawn(async move {
        let _dropping = dropping;
        pending::<()>().await;
    });
    server.shutdown().await;
    assert_eq!(dropped.try_recv(), Err(TryRecvError::Closed), "the shutdown has waited");
    ended(&journal).await;
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn closed_can_be_awaited_by_many_and_dropped() {
    let (server, _) = serve().await;
    let (mut client, session) = opened(&server).await;
    drop(session.closed());
    assert!(tokio::time::timeout(Duration::from_millis(1), session.closed()).await.is_err());
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.closed().await })
        })
        .collect();
    client.close(1000, "").await;
    for one in waiting {
        soon(one).await.unwrap();
    }
}

#[tokio::test]
#[allow(clippy::mutable_key_type)] // the hash of a session is its ID
async fn session_is_a_key_of_a_map() {
    let (server, _) = serve().await;
    let (_client, session) = opened(&server).await;
    let names = HashMap::from([(session.clone(), "ann")]);
    assert_eq!(names.get(&session), Some(&"ann"));
}

static SEES_PENDING: AtomicBool = AtomicBool::new(false);

/// Shuts its own container down.
#[server_endpoint("/admin")]
struct Admin(Journal);

impl Admin {
    #[on_message]
    async fn stop(&mut self, _line: String, session: &Session) -> Result<(), Error> {
        session.basic_remote().send_text("stopping").await?;
        let Some(container) = session.container() else { return Ok(()) };
        let Shutdown { closed, cut, pending, .. } = container.shutdown(Duration::from_secs(600)).await;
        SEES_PENDING.store((closed, cut, pending) == (0, 0, 2), Ordering::Relaxed);
        Ok(())
    }

    #[on_close]
    fn leave(&mut self, reason: CloseReason) {
        self.0.note(format!("left {reason}"));
    }
}

#[tokio::test]
async fn handler_shuts_its_own_container_down() {
    let journal = Journal::default();
    let own = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Admin(own.clone())))).await;
    let mut other = server.connect("/admin").await;
    let mut admin = server.connect("/admin").await;
    admin.text("stop").await;
    admin.expect_text("stopping").await;
    admin.expect_close(1001).await;
    other.expect_close(1001).await;
    for _ in 0..2 {
        assert_eq!(journal.next().await, "left 1006 the server is shutting down");
    }
    assert!(SEES_PENDING.load(Ordering::Relaxed));
    let (answer, _) = Client::try_connect(server.addr, "/admin", &[]).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn closed_session_is_known_before_its_task_runs() {
    let (server, _) = serve().await;
    let (_client, session) = opened(&server).await;
    session.close();
    soon(session.closed()).await;
    assert!(!session.is_open());
}

/// A client that shuts its own container down, and can be found in it.
#[client_endpoint]
struct Stopper(ClientContainer, Journal);

impl Stopper {
    #[on_open]
    fn open(&mut self, session: &Session) {
        session.join("clients");
    }

    #[on_message]
    async fn heard(&mut self, _: String, session: &Session) {
        let found = self.0.session(session.id()).as_ref() == Some(session);
        let rooms = (self.0.room("clients").len(), self.0.rooms(["clients", "clients"]).len());
        self.1.note(format!("found {found}, rooms {rooms:?}"));
        let shutdown = self.0.shutdown(Duration::from_secs(600)).await;
        self.1.note(format!("pending {}", shutdown.pending));
    }

    #[on_close]
    fn leave(&mut self) {
        self.1.note("left");
    }
}

#[tokio::test]
async fn handler_of_a_client_shuts_its_own_container_down() {
    let (server, _) = serve().await;
    let (container, journal) = (ClientContainer::new(), Journal::default());
    let stopper = Stopper(container.clone(), journal.clone());
    let session = soon(container.connect(stopper, format!("ws://{}/tasks", server.addr))).await.unwrap();
    // the server answers twice
    session.basic_remote().send_text("work").await.unwrap();
    for note in ["found true, rooms (1, 1)", "pending 1"] {
        journal.expect(note).await;
    }
    while journal.next().await != "left" {}
    soon(session.closed()).await;
    assert_eq!(container.session(session.id()), None);
}
