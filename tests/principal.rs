//! Who the peer is: named in the handshake, asked for roles before and after it, until it expires.

mod support;

use std::time::{Duration, SystemTime};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, HandshakeResponse, Principal};
use support::{Answer, Client, Journal, TestServer, soon};

/// As the header `user` has it: a name, its roles, and for how many milliseconds it is good.
#[derive(Debug)]
struct User {
    name: String,
    roles: Vec<String>,
    until: Option<SystemTime>,
}

impl User {
    /// `name role role 50ms`
    fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut user = Self { name: words.next().unwrap().into(), roles: Vec::new(), until: None };
        for word in words {
            match word.strip_suffix("ms") {
                Some(millis) => {
                    user.until = Some(SystemTime::now() + Duration::from_millis(millis.parse().unwrap()));
                }
                None => user.roles.push(word.into()),
            }
        }
        user
    }
}

impl Principal for User {
    fn name(&self) -> &str {
        &self.name
    }
    fn has_role(&self, role: &str) -> bool {
        assert_ne!(self.name, "boom", "boom");
        self.roles.iter().any(|own| own == role)
    }
    fn expires_at(&self) -> Option<SystemTime> {
        self.until
    }
}

/// Another type of principal.
struct Machine;

impl Principal for Machine {
    fn name(&self) -> &str {
        "machine"
    }
}

#[derive(Default)]
struct Login;

impl<E> Configurator<E> for Login {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        if let Some(user) = request.header("user") {
            response.set_principal(User::parse(user));
        }
        Ok(())
    }
}

#[server_endpoint("/open", configurator = Login)]
#[derive(Default)]
struct Open {
    journal: Option<Journal>,
}

impl Open {
    #[on_message]
    fn ask(&mut self, question: &str, session: &Session) -> String {
        match question.split_once(' ') {
            Some(("login", user)) => {
                session.reauthenticate(User::parse(user));
                "welcome".into()
            }
            Some(("machine", _)) => {
                session.reauthenticate(Machine);
                "welcome".into()
            }
            Some(("role?", role)) => session.is_user_in_role(role).to_string(),
            Some(("find", name)) => {
                let container = session.container().unwrap();
                container.principal(name).async_remote().send_text("found you");
                container.principal(name).len().to_string()
            }
            _ => format!("{:?}", session.principal::<User>().map(|user| user.name.clone())),
        }
    }

    #[on_close]
    fn closed(&mut self, reason: CloseReason, session: &Session) {
        if let Some(journal) = &self.journal {
            journal.note(format!("{reason} by {:?}", reason.initiator()));
            journal.note(format!("{:?}", session.principal::<User>().map(|user| user.name.clone())));
        }
    }
}

#[server_endpoint("/staff", configurator = Login, roles("admin", "ops"))]
struct Staff;

impl Staff {
    #[on_message]
    fn ask(&self, _: &str) -> &'static str {
        "come in"
    }
}

#[server_endpoint("/nobody", roles("admin"))]
#[derive(Default)]
struct Nobody;

fn staff(journal: &Journal) -> endpoint_runtime::ContainerBuilder {
    let journal = journal.clone();
    ServerContainer::builder().endpoint_with(move |_| {
        journal.note("made");
        Ok(Staff)
    })
}

async fn open() -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Open { journal: Some(own.clone()) }));
    (TestServer::with(container).await, journal)
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

async fn as_user(server: &TestServer, path: &str, user: Option<&str>) -> (Answer, Client) {
    let header = user.map(|user| format!("User: {user}"));
    Client::try_connect(server.addr, path, &header.iter().map(String::as_str).collect::<Vec<_>>()).await
}

// ---- of the handshake ----

#[tokio::test]
async fn principal_and_roles_are_those_of_the_handshake() {
    let (server, _) = open().await;
    for (user, name, admin) in [
        (None, "None", "false"),
        (Some("ann"), r#"Some("ann")"#, "false"),
        (Some("ann admin"), r#"Some("ann")"#, "true"),
        (Some("bob user ops"), r#"Some("bob")"#, "false"),
    ] {
        let (_, mut client) = as_user(&server, "/open", user).await;
        asked(&mut client, "who", name).await;
        asked(&mut client, "role? admin", admin).await;
    }
}

#[tokio::test]
async fn principal_is_found_by_its_own_type_alone() {
    let (server, _) = open().await;
    let (_, mut client) = as_user(&server, "/open", Some("ann")).await;
    asked(&mut client, "machine now", "welcome").await;
    asked(&mut client, "who", "None").await;
}

#[tokio::test]
async fn endpoint_with_roles_refuses_before_an_instance_is_created() {
    let journal = Journal::default();
    let server = TestServer::with(staff(&journal)).await;
    for (user, status) in [
        (None, 401),
        (Some("ann"), 403),
        (Some("ann user"), 403),
        (Some("ann adm"), 403),
        (Some("ann admin"), 101),
        (Some("ann ops"), 101),
        (Some("ann user ops admin"), 101),
        // asking it panics
        (Some("boom admin"), 500),
        // it has run out already
        (Some("ann admin 0ms"), 401),
    ] {
        let (answer, mut client) = as_user(&server, "/staff", user).await;
        assert_eq!(answer.status, status, "{user:?}");
        if status == 101 {
            asked(&mut client, "?", "come in").await;
            journal.expect("made").await;
        }
        assert_eq!(journal.rest(), [""; 0], "{user:?}");
    }
}

#[tokio::test]
async fn endpoint_with_roles_and_no_principal_refuses_everyone() {
    let server = TestServer::of::<Nobody>().await;
    let (answer, _) = as_user(&server, "/nobody", Some("ann admin")).await;
    assert_eq!(answer.status, 401);
}

// ---- of messages ----

#[server_endpoint("/rights", configurator = Login)]
#[derive(Default)]
struct Rights;

impl Rights {
    #[on_message(roles("admin", "ops"))]
    async fn command(&mut self, command: String) -> String {
        format!("did {command}")
    }

    #[on_message(roles("admin"))]
    fn data(&mut self, data: &[u8]) -> usize {
        data.len()
    }

    #[on_error]
    fn failed(&mut self, error: &Error, session: &Session) {
        session.async_remote().send_text(format!("forbidden: {}", error.is_forbidden()));
    }
}

/// Has no `on_error`.
#[server_endpoint("/quiet", configurator = Login)]
#[derive(Default)]
struct Quiet;

impl Quiet {
    #[on_message(roles("admin"))]
    fn command(&mut self, command: &str) -> String {
        format!("did {command}")
    }
}

#[tokio::test]
async fn message_without_the_role_is_dropped_and_reaches_on_error() {
    let server = TestServer::of::<Rights>().await;
    for (user, text, binary) in [
        (None, "forbidden: true", "forbidden: true"),
        (Some("ann user"), "forbidden: true", "forbidden: true"),
        (Some("ann ops"), "did it", "forbidden: true"),
        (Some("ann admin"), "did it", "3"),
    ] {
        let (_, mut client) = as_user(&server, "/rights", user).await;
        for _ in 0..2 {
            asked(&mut client, "it", text).await;
            client.binary(b"abc").await;
            client.expect_text(binary).await;
        }
    }
}

#[tokio::test]
async fn session_without_on_error_survives_a_forbidden_message() {
    let server = TestServer::of::<Quiet>().await;
    let (_, mut client) = as_user(&server, "/quiet", Some("ann")).await;
    client.text("it").await;
    client.expect_silence().await;
}

// ---- later ----

#[tokio::test]
async fn reauthentication_replaces_principal_and_roles() {
    let (server, _) = open().await;
    let (_, mut client) = as_user(&server, "/open", Some("ann admin")).await;
    for (login, name, admin) in [
        ("bob", r#"Some("bob")"#, "false"),
        ("ann user", r#"Some("ann")"#, "false"),
        ("cid admin", r#"Some("cid")"#, "true"),
    ] {
        asked(&mut client, &format!("login {login}"), "welcome").await;
        asked(&mut client, "who", name).await;
        asked(&mut client, "role? admin", admin).await;
    }
}

#[tokio::test]
async fn session_ends_with_1008_when_its_principal_expires() {
    let (server, journal) = open().await;
    let (_, mut client) = as_user(&server, "/open", Some("ann 100ms")).await;
    assert_eq!(client.expect_close(1008).await, "session expired");
    client.close(1008, "").await;
    client.expect_end().await;
    journal.expect("1008 session expired by Container").await;
    // it can still be asked
    journal.expect(r#"Some("ann")"#).await;
}

#[tokio::test]
async fn reauthentication_extends_the_session() {
    let (server, _) = open().await;
    let (_, mut client) = as_user(&server, "/open", Some("ann 800ms")).await;
    asked(&mut client, "login ann 60000ms", "welcome").await;
    let (_, mut other) = as_user(&server, "/open", Some("bob 900ms")).await;
    other.expect_close(1008).await;
    // so the first one's time is up, too
    asked(&mut client, "who", r#"Some("ann")"#).await;
}

#[tokio::test]
async fn later_login_may_shorten_the_session() {
    let (server, _) = open().await;
    let (_, mut client) = as_user(&server, "/open", None).await;
    asked(&mut client, "login ann 50ms", "welcome").await;
    client.expect_close(1008).await;
}

#[tokio::test]
async fn busy_session_expires() {
    let (server, _) = open().await;
    let (_, mut client) = as_user(&server, "/open", Some("ann 200ms")).await;
    soon(async {
        loop {
            client.text("who").await;
            let frame = client.frame().await.unwrap();
            if frame.opcode == support::CLOSE {
                assert_eq!(frame.payload[..2], 1008u16.to_be_bytes());
                return;
            }
        }
    })
    .await;
}

// ---- all sessions of one ----

#[tokio::test]
async fn sessions_are_found_by_the_name_of_their_principal() {
    let (server, journal) = open().await;
    let (_, mut first) = as_user(&server, "/open", Some("ann")).await;
    let (_, mut second) = as_user(&server, "/open", Some("ann")).await;
    let (_, mut bob) = as_user(&server, "/open", Some("bob")).await;
    let (_, mut nobody) = as_user(&server, "/open", None).await;
    for client in [&mut first, &mut second, &mut bob, &mut nobody] {
        client.expect_silence().await;
    }
    asked(&mut nobody, "find ann", "2").await;
    first.expect_text("found you").await;
    second.expect_text("found you").await;
    bob.expect_silence().await;
    // who logs in anew is found under the new name alone
    asked(&mut second, "login bob", "welcome").await;
    asked(&mut nobody, "find bob", "2").await;
    bob.expect_text("found you").await;
    second.expect_text("found you").await;
    assert_eq!(server.container.principal("ann").len(), 1);
    // and who goes is not found
    first.close(1000, "").await;
    first.expect_close(1000).await;
    journal.expect("1000 by Peer").await;
    assert!(server.container.principal("ann").is_empty());
    assert!(server.container.principal("nobody").is_empty());
}

#[tokio::test]
async fn all_sessions_of_one_principal_can_be_closed() {
    let (server, _) = open().await;
    let mut clients = Vec::new();
    for user in ["ann", "ann", "bob"] {
        let (_, mut client) = as_user(&server, "/open", Some(user)).await;
        client.expect_silence().await;
        clients.push(client);
    }
    let banned = CloseReason::new(CloseCode::ViolatedPolicy, "banned").unwrap();
    server.container.principal("ann").iter().for_each(|session| session.close_with(banned.clone()));
    for client in &mut clients[..2] {
        assert_eq!(client.expect_close(1008).await, "banned");
    }
    clients[2].expect_silence().await;
}

#[tokio::test]
async fn session_is_found_only_by_its_latest_name() {
    const NAMES: [&str; 4] = ["ada", "bob", "cyd", "dan"];
    let server = TestServer::of::<Open>().await;
    let mut client = server.connect("/open").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    let container = server.container.clone();
    let racing = std::thread::spawn(move || {
        for round in 0..1_000 {
            let begin = std::sync::Barrier::new(NAMES.len());
            std::thread::scope(|scope| {
                for name in NAMES {
                    let (session, begin, container) = (&session, &begin, &container);
                    scope.spawn(move || {
                        begin.wait();
                        for _ in 0..8 {
                            session.reauthenticate(User::parse(name));
                            // so that some have to wait for the groups
                            container.principal(name).len();
                        }
                    });
                }
            });
            let last = session.principal::<User>().unwrap().name.clone();
            let found: Vec<_> = NAMES.into_iter().filter(|name| !container.principal(name).is_empty()).collect();
            assert_eq!(found, [last], "round {round}");
        }
        (session, container)
    });
    soon(async {
        while !racing.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (session, container) = racing.join().unwrap();
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    soon(async {
        while !NAMES.iter().all(|name| container.principal(name).is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!session.is_open());
}
