//! Who is present in a room: what sessions hear of each other, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{TestClient, TestServer};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

struct User(String);

impl Principal for User {
    fn name(&self) -> &str {
        &self.0
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Away {
    minutes: u32,
}

/// As `+ann` for a user who joined, `-ann` for one who left, `~ann` for one who was updated, each followed by the metas of
/// several devices, or of one that has a meta.
fn line(change: &Presence<Away>) -> String {
    let mut words = vec![change.room.to_string()];
    for (sign, users) in [('+', &change.joined), ('-', &change.left), ('~', &change.updated)] {
        words.extend(users.iter().map(|user| format!("{sign}{}", described(user))));
    }
    words.join(" ")
}

fn described(user: &Present<Away>) -> String {
    match &*user.devices {
        [None] => user.name.to_string(),
        devices => {
            let metas = devices.iter().map(|meta| meta.as_ref().map_or("-".into(), |away| away.minutes.to_string()));
            format!("{}[{}]", user.name, metas.collect::<Vec<_>>().join(","))
        }
    }
}

async fn obey(command: &str, session: &Session) -> Result<Option<String>, Error> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "join" => drop(session.join(rest)),
        "leave" => drop(session.leave(rest)),
        "away" => session.presence().set(&Away { minutes: rest.parse().unwrap() })?,
        "back" => session.presence().clear(),
        "login" => session.reauthenticate(User(rest.into())),
        "sleep" => sleep(Duration::from_millis(rest.parse().unwrap())).await,
        "close" => session.close(),
        "large" => {
            let error = session.presence().set(&"x".repeat(5000)).unwrap_err();
            assert!(error.is_encode());
            return Ok(Some(error.to_string()));
        }
        other => panic!("{other}"),
    }
    Ok(None)
}

#[server_endpoint("/chat/{room}", presence(grace = "15s"))]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: &str) {
        session.join(room);
    }

    #[on_message]
    async fn obey(&mut self, command: String, session: &Session) -> Result<Option<String>, Error> {
        obey(&command, session).await
    }

    #[on_presence]
    fn changed(&mut self, change: Presence<Away>) -> String {
        line(&change)
    }
}

/// With a handler that takes as long as the query says, and notes the first change after each wait.
#[server_endpoint("/slow/{room}", presence = on)]
#[derive(Default)]
struct Slow;

impl Slow {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: &str) {
        session.join(room);
    }

    #[on_message]
    async fn obey(&mut self, command: String, session: &Session) -> Result<Option<String>, Error> {
        obey(&command, session).await
    }

    #[on_presence]
    async fn changed(&mut self, change: &Presence<Away>, #[query_param] millis: u64) -> Option<String> {
        sleep(Duration::from_millis(millis)).await;
        Some(line(change))
    }
}

/// Present, without a handler; the meta is of another type.
#[server_endpoint("/quiet/{room}", presence(grace = off))]
#[derive(Default)]
struct Quiet;

impl Quiet {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: &str) {
        session.join(room);
    }

    #[on_message]
    fn status(&mut self, status: String, session: &Session) -> Result<(), Error> {
        session.presence().set(&status)
    }
}

/// Not present.
#[server_endpoint("/off/{room}")]
#[derive(Default)]
struct Off;

impl Off {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: &str) {
        session.join(room);
        session.presence().set(&Away { minutes: 1 }).unwrap();
    }
}

/// Present, without annotations.
struct Plain;

impl Endpoint for Plain {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.join("r");
        Ok(())
    }
}

fn server() -> TestServer {
    let plain = EndpointConfig::new("/plain", || Plain).presence(2 * SECOND);
    let container = ServerContainer::builder().add_endpoint_config(plain);
    let container = container.register::<Chat>().register::<Slow>().register::<Quiet>().register::<Off>();
    TestServer::new(container.build().unwrap())
}

async fn enter(server: &TestServer, path: &str, user: &str) -> TestClient {
    server.request(path).extension(Identity::new(User(user.into()))).connect().await
}

/// The list of the room `r`.
fn present(server: &TestServer) -> Vec<String> {
    let present: Vec<Present<Away>> = server.container().room("r").present_here().list();
    assert_eq!(server.container().room("r").present_here().count(), present.len());
    present.iter().map(described).collect()
}

async fn quiet_for(client: &mut TestClient, time: Duration) {
    sleep(time).await;
    client.expect_nothing().await;
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn first_change_lists_everyone_and_later_ones_are_differences() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ben.expect_text("r +ann +ben").await;
    ann.expect_text("r +ben").await;
    assert_eq!(present(&server), ["ann", "ben"]);
    ben.send_text("leave r").await;
    ann.expect_text("r -ben").await;
    ben.send_text("join r").await;
    // also for a session that was there before
    ben.expect_text("r +ann +ben").await;
    ann.expect_text("r +ben").await;
    quiet_for(&mut ann, SECOND).await;
    quiet_for(&mut ben, SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_gathered_and_cancel_each_other_out() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    let before = Instant::now();
    let mut others = Vec::new();
    for name in ["ben", "cy", "dan"] {
        others.push(enter(&server, "/chat/r", name).await);
    }
    others[1].send_text("leave r").await;
    ann.expect_text("r +ben +dan").await;
    assert!(before.elapsed() <= Duration::from_millis(110), "{:?}", before.elapsed());
    ann.send_text("away 5").await;
    ann.send_text("back").await;
    others[0].send_text("leave r").await;
    others[0].send_text("join r").await;
    quiet_for(&mut ann, SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn each_room_has_its_own_changes() {
    let server = server();
    let mut ann = enter(&server, "/chat/a", "ann").await;
    ann.send_text("join b").await;
    ann.expect_text("a +ann").await;
    ann.expect_text("b +ann").await;
    let _ben = enter(&server, "/chat/b", "ben").await;
    ann.expect_text("b +ben").await;
    ann.send_text("away 5").await;
    ann.expect_text("a ~ann[5]").await;
    ann.expect_text("b ~ann[5]").await;
}

#[tokio::test(start_paused = true)]
async fn several_sessions_of_a_user_are_one_user_with_several_devices() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    let mut phone = enter(&server, "/chat/r", "ann").await;
    phone.expect_text("r +ann[-,-]").await;
    ann.expect_text("r ~ann[-,-]").await;
    phone.send_text("away 5").await;
    ann.expect_text("r ~ann[-,5]").await;
    assert_eq!(present(&server), ["ann[-,5]"]);
    phone.send_text("leave r").await;
    ann.expect_text("r ~ann").await;
    ann.send_text("leave r").await;
    ann.expect_nothing().await;
    assert_eq!(present(&server), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn meta_applies_to_all_rooms_and_is_replaced_and_removed() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    let mut ben = enter(&server, "/chat/s", "ben").await;
    ben.send_text("away 5").await;
    // before it joins
    ben.send_text("join r").await;
    ann.expect_text("r +ben[5]").await;
    for (command, change) in [("away 6", "r ~ben[6]"), ("back", "r ~ben"), ("away 7", "r ~ben[7]")] {
        ben.send_text(command).await;
        ann.expect_text(change).await;
    }
    ben.send_text("away 7").await;
    quiet_for(&mut ann, SECOND).await;
    ben.send_text("leave r").await;
    // with the last meta
    ann.expect_text("r -ben[7]").await;
}

#[tokio::test(start_paused = true)]
async fn meta_of_more_than_4_kib_is_refused_and_the_one_before_stays() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.send_text("away 5").await;
    ann.expect_text("r +ann[5]").await;
    ann.send_text("large").await;
    let error = "a presence meta of type alloc::string::String has 5002 bytes as JSON, and at most 4096 are allowed";
    ann.expect_text(error).await;
    quiet_for(&mut ann, SECOND).await;
    assert_eq!(present(&server), ["ann[5]"]);
}

#[tokio::test(start_paused = true)]
async fn user_who_comes_back_within_the_grace_period_has_not_left() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ann.expect_text("r +ann +ben").await;
    ben.cut().await;
    quiet_for(&mut ann, 14 * SECOND).await;
    assert_eq!(present(&server), ["ann", "ben"]);
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ben.expect_text("r +ann +ben").await;
    quiet_for(&mut ann, 20 * SECOND).await;
    assert_eq!(present(&server), ["ann", "ben"]);
    // however it ends
    ben.send_text("close").await;
    quiet_for(&mut ann, 14 * SECOND).await;
    ann.expect_text("r -ben").await;
    assert_eq!(present(&server), ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn user_whose_grace_period_is_over_has_left() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ann.expect_text("r +ann +ben").await;
    let before = Instant::now();
    ben.close(1000, "").await;
    ann.expect_text("r -ben").await;
    let took = before.elapsed();
    assert!(took >= 15 * SECOND && took < 15 * SECOND + Duration::from_millis(250), "{took:?}");
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ben.expect_text("r +ann +ben").await;
    ann.expect_text("r +ben").await;
}

#[tokio::test(start_paused = true)]
async fn meta_of_a_session_that_ended_goes_with_the_next_session() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ben.send_text("away 5").await;
    ann.expect_text("r +ann +ben[5]").await;
    ben.cut().await;
    quiet_for(&mut ann, SECOND).await;
    // the same meta again, at once
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ben.send_text("away 5").await;
    quiet_for(&mut ann, SECOND).await;
    ben.cut().await;
    quiet_for(&mut ann, SECOND).await;
    let _ben = enter(&server, "/chat/r", "ben").await;
    ann.expect_text("r ~ben").await;
    quiet_for(&mut ann, 20 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn device_that_does_not_come_back_is_reported_after_the_grace_period() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut phone = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann[-,-]").await;
    phone.cut().await;
    quiet_for(&mut ann, 14 * SECOND).await;
    ann.expect_text("r ~ann").await;
}

#[tokio::test(start_paused = true)]
async fn explicit_leave_has_no_grace_period() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ann.expect_text("r +ann +ben").await;
    ben.send_text("leave r").await;
    ben.send_text("close").await;
    let before = Instant::now();
    ann.expect_text("r -ben").await;
    assert!(before.elapsed() < SECOND);
    let _cy = enter(&server, "/chat/r", "cy").await;
    ann.expect_text("r +cy").await;
    let room = server.container().room("r");
    let cy = server.container().user("cy").sessions().iter().next().unwrap().clone();
    assert!(room.kick(&cy));
    ann.expect_text("r -cy").await;
}

#[tokio::test(start_paused = true)]
async fn session_without_a_principal_is_not_present_and_hears_the_others() {
    let server = server();
    let mut guest = server.connect("/chat/r").await;
    quiet_for(&mut guest, SECOND).await;
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    guest.expect_text("r +ann").await;
    let mut late = server.connect("/chat/r").await;
    late.expect_text("r +ann").await;
    late.close(1000, "").await;
    quiet_for(&mut guest, 20 * SECOND).await;
    guest.send_text("login gus").await;
    ann.expect_text("r +gus").await;
    guest.expect_text("r +gus").await;
}

#[tokio::test(start_paused = true)]
async fn reauthentication_moves_the_session_to_another_user() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ann.expect_text("r +ann +ben").await;
    ben.send_text("away 5").await;
    ann.expect_text("r ~ben[5]").await;
    ben.send_text("login cy").await;
    ann.expect_text("r +cy[5] -ben[5]").await;
    ben.send_text("login ann").await;
    ann.expect_text("r -cy[5] ~ann[-,5]").await;
    // a fresh token of the same user
    ben.send_text("login ann").await;
    quiet_for(&mut ann, SECOND).await;
    assert_eq!(present(&server), ["ann[-,5]"]);
}

#[tokio::test(start_paused = true)]
async fn changes_for_a_slow_handler_are_merged() {
    let server = server();
    let mut slow = enter(&server, "/slow/r?millis=5000", "slow").await;
    sleep(SECOND).await;
    // the handler has begun with the first change
    let mut ben = enter(&server, "/chat/r", "ben").await;
    for step in ["away 1", "away 2", "leave r", "join r"] {
        ben.send_text(step).await;
        sleep(Duration::from_millis(200)).await;
    }
    let mut cy = enter(&server, "/chat/r", "cy").await;
    sleep(Duration::from_millis(200)).await;
    cy.send_text("leave r").await;
    slow.expect_text("r +slow").await;
    slow.expect_text("r +ben[2]").await;
    quiet_for(&mut slow, 10 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn handler_for_presence_does_not_overlap_others() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    ann.send_text("sleep 3000").await;
    let _ben = enter(&server, "/chat/r", "ben").await;
    quiet_for(&mut ann, 2 * SECOND).await;
    ann.expect_text("r +ben").await;
}

#[tokio::test(start_paused = true)]
async fn messages_are_handled_between_changes() {
    let server = server();
    let mut slow = enter(&server, "/slow/r?millis=500", "slow").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    let churn = tokio::spawn(async move {
        for minutes in 0.. {
            ben.send_text(format!("away {minutes}")).await;
            sleep(Duration::from_millis(100)).await;
        }
    });
    for _ in 0..3 {
        slow.next_text().await;
    }
    slow.send_text("large").await;
    slow.send_text("large").await;
    let mut changes = 0;
    for _ in 0..2 {
        while !slow.next_text().await.starts_with("a presence meta") {
            changes += 1;
        }
    }
    assert!((1..=3).contains(&changes), "{changes}");
    churn.abort();
}

#[tokio::test(start_paused = true)]
async fn waiting_changes_of_a_room_that_was_left_are_dropped() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    ann.send_text("sleep 1000").await;
    let _ben = enter(&server, "/chat/r", "ben").await;
    sleep(Duration::from_millis(500)).await;
    let session = server.container().user("ann").sessions().iter().next().unwrap().clone();
    assert!(server.container().room("r").kick(&session));
    quiet_for(&mut ann, 2 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn changes_wait_for_a_peer_that_does_not_read() {
    let container = ServerContainer::builder().send_queue(1000, 64 << 10).send_timeout(600 * SECOND);
    let server = TestServer::new(container.register::<Chat>().build().unwrap());
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    ann.set_reading(false);
    let mut others = Vec::new();
    for number in 0..60 {
        let name = format!("{number}-{}", "x".repeat(4000));
        others.push(enter(&server, "/chat/r", &name).await);
        sleep(Duration::from_millis(150)).await;
    }
    let session = server.container().user("ann").sessions().iter().next().unwrap().clone();
    assert!(session.is_open() && session.queued_bytes() < 100 << 10, "{} bytes", session.queued_bytes());
    ann.set_reading(true);
    let (mut heard, mut messages) = (0, 0);
    while heard < others.len() {
        heard += ann.next_text().await.matches('+').count();
        messages += 1;
    }
    assert!(messages < others.len(), "{messages} messages");
    quiet_for(&mut ann, SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn endpoint_without_the_option_is_not_present_and_not_told() {
    let server = server();
    let mut off = enter(&server, "/off/r", "off").await;
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    assert_eq!(server.container().room("r").len(), 2);
    off.expect_nothing().await;
    off.close(1000, "").await;
    quiet_for(&mut ann, 20 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn endpoint_without_a_handler_is_present_and_its_metas_may_be_others() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut quiet = enter(&server, "/quiet/r", "quiet").await;
    ann.expect_text("r +ann +quiet").await;
    quiet.send_text("busy").await;
    // a meta that cannot be read counts as none, and the device is another
    ann.expect_text("r ~quiet").await;
    let user = server.container().room("r").present_here().user::<String>("quiet").unwrap();
    assert_eq!(user.devices, [Some("busy".to_owned())]);
    quiet.expect_nothing().await;
    // its grace is off
    quiet.close(1000, "").await;
    let before = Instant::now();
    ann.expect_text("r -quiet").await;
    assert!(before.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn endpoint_without_annotations_may_be_present() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut plain = enter(&server, "/plain", "plain").await;
    ann.expect_text("r +ann +plain").await;
    plain.cut().await;
    quiet_for(&mut ann, SECOND).await;
    ann.expect_text("r -plain").await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_the_grace_period() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    let mut ben = enter(&server, "/chat/r", "ben").await;
    ben.expect_text("r +ann +ben").await;
    ann.cut().await;
    sleep(SECOND).await;
    let before = Instant::now();
    let shutdown = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown(60 * SECOND).await }
    });
    ben.expect_close(1001).await;
    let report = shutdown.await.unwrap();
    assert_eq!((report.closed, report.cut), (1, 0));
    assert!(before.elapsed() < SECOND, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_room_follow_each_other() {
    let server = server();
    let mut clients = Vec::new();
    for number in 10..35 {
        clients.push(enter(&server, "/quiet/r", &format!("user {number}")).await);
    }
    server.settled().await;
    let here = server.container().room("r").present_here();
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let page: Vec<Present> = here.page(after.as_deref(), 10);
        let Some(last) = page.last() else { break };
        after = Some(last.name.to_string());
        names.extend(page.into_iter().map(|user| user.name.to_string()));
    }
    assert_eq!(names, (10..35).map(|number| format!("user {number}")).collect::<Vec<_>>());
    assert_eq!((here.count(), here.user::<()>("nobody")), (25, None));
}

#[tokio::test(start_paused = true)]
async fn session_may_join_in_a_thread_without_a_runtime() {
    let server = server();
    let mut ann = enter(&server, "/chat/r", "ann").await;
    ann.expect_text("r +ann").await;
    let session = server.container().user("ann").sessions().iter().next().unwrap().clone();
    assert!(std::thread::spawn(move || session.join("s").is_member()).join().unwrap());
    ann.expect_text("s +ann").await;
}

#[test]
fn presence_goes_on_when_one_of_several_runtimes_is_dropped() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, one, two) = (server(), runtime(), runtime());
    let mut ann = one.block_on(enter(&server, "/chat/r", "ann"));
    one.block_on(ann.expect_text("r +ann"));
    let _quiet = two.block_on(enter(&server, "/quiet/r", "quiet"));
    one.block_on(ann.expect_text("r +quiet"));
    // it ends the session, too
    drop(two);
    one.block_on(ann.expect_text("r -quiet"));
}

/// The list of a client that folds the changes it is told.
#[derive(Default)]
struct Known(BTreeMap<String, String>);

impl Known {
    fn fold(&mut self, line: &str) {
        for word in line.split(' ').skip(1) {
            let (sign, user) = word.split_at(1);
            let name = user.split('[').next().unwrap();
            let before = match sign {
                "-" => self.0.remove(name),
                _ => self.0.insert(name.into(), user.into()),
            };
            assert_eq!(before.is_some(), sign != "+", "{line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_folds_the_changes_has_the_list() {
    let server = server();
    let mut watchers = [server.connect("/chat/r").await, enter(&server, "/slow/r?millis=700", "slow").await];
    let mut known = [Known::default(), Known::default()];
    let mut clients: Vec<Option<TestClient>> = (0..6).map(|_| None).collect();
    let mut random = 1_u32;
    for round in 0..400 {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let (index, choice) = ((random >> 16) as usize % clients.len(), (random >> 8) % 9);
        match &mut clients[index] {
            None => clients[index] = Some(enter(&server, "/chat/r", &format!("user{}", index / 2)).await),
            Some(client) => match choice {
                0 => client.send_text("leave r").await,
                1 | 2 => client.send_text("join r").await,
                3 => client.send_text("back").await,
                4 | 5 => client.send_text(format!("away {}", choice)).await,
                6 => client.send_text(format!("login user{}", round % 4)).await,
                _ => {
                    client.cut().await;
                    clients[index] = None;
                }
            },
        }
        // sometimes many steps in one tick, and sometimes the end of a grace period
        let pause = [0, 0, 0, 70, 150, 9000][(random >> 24) as usize % 6];
        sleep(Duration::from_millis(pause)).await;
    }
    sleep(30 * SECOND).await;
    for client in &mut watchers {
        client.send_text("large").await;
    }
    for (client, known) in watchers.iter_mut().zip(&mut known) {
        loop {
            let line = client.next_text().await;
            if line.starts_with("a presence meta") {
                break;
            }
            known.fold(&line);
        }
        let list: Vec<String> = known.0.values().cloned().collect();
        assert_eq!(list, present(&server));
    }
}
