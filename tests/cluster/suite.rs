//! The guarantees of a cluster, asked of every engine alike.

use std::time::Duration;

use endpoint_runtime::cluster::{Cluster, ClusterHealth, HealthStatus, WhileDown};
use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{TestClient, TestServer};
use tokio::time::{Instant, sleep, timeout};

/// An engine under test.
#[allow(async_fn_in_trait)]
pub trait Engine: Sized {
    type Way: Way;

    /// Starts an engine without data.
    async fn start() -> Self;

    /// A way of a new node to the engine.
    async fn way(&self) -> Self::Way;

    /// Ends the engine with all its connections.
    async fn stop(&mut self);

    /// Starts it again, at the same address.
    async fn restart(&mut self);
}

/// The way of one node to the engine.
pub trait Way {
    /// The cluster with default settings, through this way.
    fn cluster(&self) -> impl Future<Output = Cluster>;

    /// Nothing passes any more in either direction.
    fn cut(&self);

    /// Everything passes again, in time.
    fn heal(&self);

    /// Ends the connections; new ones are accepted.
    fn disconnect(&self);

    /// Delays what passes.
    fn slow(&self, delay: Duration);
}

/// Containers on one engine.
pub struct Nodes<E: Engine> {
    pub engine: E,
    pub nodes: Vec<(TestServer, E::Way)>,
}

/// The time within which everything here happens, on a busy machine too.
const SOON: Duration = Duration::from_secs(20);

/// A user by name, from `?name=`.
pub struct Named(String);

impl Principal for Named {
    fn name(&self) -> &str {
        &self.0
    }
}

async fn by_name(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    if let Some((_, name)) = request.query_params().find(|(key, _)| key == "name") {
        response.set_principal(Named(name.into_owned()));
    }
    Ok(())
}

#[server_endpoint("/chat/{room}")]
#[derive(Default)]
pub struct Chat;

impl Chat {
    /// Greets when every node knows.
    #[on_open]
    async fn enter(&mut self, session: &Session, #[path_param] room: String) -> &'static str {
        match session.join(&room).await {
            Ok(()) => "known",
            Err(error) if error.is_cluster() => "here",
            Err(_) => "refused",
        }
    }

    /// Everyone in the room gets the line.
    #[on_message]
    fn say(&mut self, line: &str, session: &Session, #[path_param] room: String) {
        session.room(&room).async_remote().send_text(line);
    }

    /// Everyone else in the room gets the bytes.
    #[on_message]
    fn show(&mut self, bytes: &[u8], session: &Session, #[path_param] room: String) {
        session.room(&room).except(session).async_remote().send_binary(bytes);
    }
}

/// A room whose members do not wait until other nodes know of them.
#[server_endpoint("/hasty/{room}")]
#[derive(Default)]
pub struct Hasty;

impl Hasty {
    #[on_open]
    fn enter(&mut self, session: &Session, #[path_param] room: String) -> &'static str {
        drop(session.join(&room));
        "here"
    }

    #[on_message]
    fn ignore(&mut self, _: &str) {}
}

/// Encoded as the subprotocol of the session; it has no form without one.
struct Spoken;

impl Encode for Spoken {
    fn encode(&self) -> Result<Message, Error> {
        Err(Error::encode("there is no subprotocol"))
    }

    fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
        context.subprotocol().map(|name| name.to_owned().into()).ok_or_else(|| Error::encode("there is no subprotocol"))
    }
}

#[server_endpoint("/spoken", subprotocols("one", "two"))]
#[derive(Default)]
pub struct Speaking;

impl Speaking {
    #[on_open]
    async fn enter(&mut self, session: &Session) -> &'static str {
        let _ = session.join("spoken").await;
        "known"
    }

    #[on_message]
    fn ignore(&mut self, _: &str) {}
}

/// What the properties of a session tell other nodes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Team(String);

/// A room whose messages are kept, and whose sessions are in teams.
#[server_endpoint("/kept/{room}", history(last = 100, within = "5m"), shared(Team))]
#[derive(Default)]
pub struct Kept;

impl Kept {
    #[on_open]
    async fn enter(&mut self, session: &Session, #[path_param] room: String) -> &'static str {
        let _ = session.join(&room).await;
        "known"
    }

    #[on_close]
    async fn leave(&mut self, session: &Session, #[path_param] room: String) {
        session.room(&room).async_remote().send_text("farewell");
    }

    /// Puts the session into a team.
    #[on_message]
    fn choose(&mut self, team: String, session: &Session) -> String {
        session.properties().insert(Team(team.clone()));
        team
    }
}

#[server_endpoint("/hall/{room}", presence(grace = "2s"))]
#[derive(Default)]
pub struct Hall;

impl Hall {
    #[on_open]
    async fn enter(&mut self, session: &Session, #[path_param] room: String) -> Result<(), Error> {
        session.join(&room).await
    }

    /// Tells who came and went, such as `+ann ~ben(2) -cy`, with the number of devices of those who are there.
    #[on_presence]
    fn changed(&mut self, change: Presence<String>) -> String {
        let mut words = Vec::new();
        for (sign, users) in [('+', change.joined), ('~', change.updated)] {
            words.extend(users.iter().map(|user| format!("{sign}{}({})", user.name, user.devices.len())));
        }
        words.extend(change.left.iter().map(|user| format!("-{}", user.name)));
        words.join(" ")
    }

    /// Sets the meta.
    #[on_message]
    fn be(&mut self, meta: &str, session: &Session) -> Result<(), Error> {
        session.presence().set(meta)
    }
}

/// Names with their numbers of devices, as [`Hall::changed`] tells them.
#[derive(Default, Debug, PartialEq, Clone)]
pub struct Known(std::collections::BTreeMap<String, usize>);

impl Known {
    /// Reads changes until the list is this one.
    async fn until(&mut self, client: &mut TestClient, list: &[(&str, usize)]) {
        let list: std::collections::BTreeMap<_, _> =
            list.iter().map(|(name, devices)| (name.to_string(), *devices)).collect();
        while self.0 != list {
            let Ok(text) = timeout(SOON, client.next_text()).await else { panic!("{:?}, not {list:?}", self.0) };
            for word in text.split(' ') {
                let (name, devices) = match word.split_once('(') {
                    Some((name, devices)) => (name, devices.trim_end_matches(')').parse().unwrap()),
                    None => (word, 0),
                };
                let known = self.0.contains_key(&name[1..]);
                assert_eq!(known, !name.starts_with('+'), "{text} after {:?}", self.0);
                match devices {
                    0 => self.0.remove(&name[1..]),
                    _ => self.0.insert(name[1..].to_owned(), devices),
                };
            }
        }
    }
}

impl<E: Engine> Nodes<E> {
    pub async fn of(count: usize) -> Self {
        Self::with(count, |cluster| cluster).await
    }

    /// Nodes whose rooms are kept.
    pub async fn keeping(count: usize) -> Self {
        let mut nodes = Self { engine: E::start().await, nodes: Vec::new() };
        for number in 0..count {
            nodes
                .add_built(|cluster| cluster.node(format!("node-{number}")), |container| container.register::<Kept>())
                .await;
        }
        nodes.settle().await;
        nodes
    }

    pub async fn with(count: usize, settings: impl Fn(Cluster) -> Cluster) -> Self {
        let engine = E::start().await;
        let mut nodes = Self { engine, nodes: Vec::new() };
        for number in 0..count {
            nodes.add(|cluster| settings(cluster).node(format!("node-{number}"))).await;
        }
        nodes.settle().await;
        nodes
    }

    pub async fn add(&mut self, settings: impl Fn(Cluster) -> Cluster) {
        self.add_built(settings, |container| {
            container.register::<Chat>().register::<Hall>().register::<Hasty>().register::<Speaking>()
        })
        .await;
    }

    /// Adds a node with these endpoints.
    pub async fn add_built(
        &mut self,
        settings: impl Fn(Cluster) -> Cluster,
        endpoints: impl Fn(ContainerBuilder) -> ContainerBuilder,
    ) {
        let way = self.engine.way().await;
        let container = endpoints(ServerContainer::builder()).handshake(by_name);
        let container = container.compression(Compression::ON).cluster(settings(way.cluster().await)).build();
        self.nodes.push((TestServer::new(container.unwrap()), way));
    }

    pub fn container(&self, node: usize) -> &ServerContainer {
        self.nodes[node].0.container()
    }

    pub fn health(&self, node: usize) -> ClusterHealth {
        self.container(node).health().cluster.unwrap()
    }

    pub fn way(&self, node: usize) -> &E::Way {
        &self.nodes[node].1
    }

    /// Connects a session and waits until every node knows that it is in its room.
    pub async fn enter(&self, node: usize, target: &str) -> TestClient {
        let mut client = self.nodes[node].0.connect(target).await;
        client.expect_text("known").await;
        client
    }

    /// The names that a node finds in a hall, and how many nodes did not answer.
    pub async fn present(&self, node: usize, room: &str) -> (Vec<String>, usize) {
        let present = self.container(node).room(room).present::<String>().await;
        (present.users.iter().map(|user| user.name.to_string()).collect(), present.missing.len())
    }

    /// Waits until all nodes know each other.
    pub async fn settle(&self) {
        let all = self.nodes.len() - 1;
        for node in 0..self.nodes.len() {
            self.until("all nodes are known", || {
                let health = self.health(node);
                health.is_connected && health.peers.iter().filter(|(_, name)| !name.is_empty()).count() == all
            })
            .await;
        }
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + SOON;
        while !is_so() {
            let state: Vec<_> = (0..self.nodes.len()).map(|node| self.health(node)).collect();
            assert!(Instant::now() < end, "{what}: {state:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

pub async fn a_message_reaches_members_on_every_node_once<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut members = Vec::new();
    for node in 0..3 {
        members.push(nodes.enter(node, "/chat/42").await);
    }
    let mut stranger = nodes.enter(1, "/chat/43").await;
    for number in 0..3 {
        members[number].send_text(format!("from {number}")).await;
        for member in &mut members {
            member.expect_text(&format!("from {number}")).await;
        }
    }
    // nothing came twice, and nothing to another room
    stranger.send_text("to myself").await;
    stranger.expect_text("to myself").await;
    members[0].send_text("the last").await;
    for member in &mut members {
        member.expect_text("the last").await;
    }
}

pub async fn messages_of_a_node_to_a_room_keep_their_order<E: Engine>() {
    const MESSAGES: usize = 500;
    let nodes = Nodes::<E>::of(3).await;
    let mut members = Vec::new();
    for node in 0..3 {
        members.push(nodes.enter(node, "/chat/42").await);
    }
    for number in 0..MESSAGES {
        for node in 0..3 {
            nodes.container(node).room("42").async_remote().send_text(format!("{node} {number}"));
        }
        if number % 50 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    for member in &mut members {
        let mut next = [0; 3];
        for _ in 0..3 * MESSAGES {
            let text = timeout(SOON, member.next_text()).await.unwrap();
            let (node, number) = text.split_once(' ').unwrap();
            let next = &mut next[node.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *next, "of node {node}");
            *next += 1;
        }
        assert_eq!(next, [MESSAGES; 3]);
    }
}

pub async fn a_message_sent_after_a_join_is_known_arrives<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    for number in 0..30 {
        let room = format!("room {number}");
        let mut member = nodes.enter(0, &format!("/chat/{}", room.replace(' ', "%20"))).await;
        nodes.container(1).room(&room).async_remote().send_text("at once");
        timeout(SOON, member.expect_text("at once")).await.unwrap();
    }
    assert_eq!(nodes.health(0).counts.lost, 0);
}

pub async fn everywhere_says_where_a_message_has_arrived<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut members = Vec::new();
    for node in [0, 0, 1] {
        members.push(nodes.enter(node, "/chat/42").await);
    }
    let send = |text: &str| nodes.container(0).room("42").async_remote().send_text(text);
    let report = send("hello").everywhere().await;
    assert_eq!((report.here, report.elsewhere, report.nodes, report.of), (2, 1, 3, 3));
    assert!(report.is_complete());
    assert_eq!(report.to_string(), "here = 2, elsewhere = 1, nodes 3 of 3, unsure = 0");
    // nobody else has sessions in this room
    let report = nodes.container(0).room("empty").async_remote().send_text("hello").everywhere().await;
    assert_eq!((report.here, report.elsewhere, report.nodes, report.of), (0, 0, 3, 3));
    // a node that does not hear is not waited for longer than until it is dead
    nodes.way(1).cut();
    let (report, began) = (send("cut"), Instant::now());
    let report = report.everywhere().await;
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!((report.here, report.elsewhere), (2, 0));
    assert_eq!(report.unsure, [nodes.health(1).id]);
    nodes.way(1).heal();
}

pub async fn local_sessions_are_served_while_the_engine_is_down<E: Engine>() {
    let mut nodes = Nodes::<E>::with(2, |cluster| cluster.while_down(WhileDown::Refuse)).await;
    let mut here = nodes.enter(0, "/chat/42").await;
    let mut there = nodes.enter(1, "/chat/42").await;
    assert_eq!(nodes.container(0).health().status, HealthStatus::Healthy);
    nodes.engine.stop().await;
    nodes.until("the link is lost", || !nodes.health(0).is_connected && !nodes.health(1).is_connected).await;
    assert_eq!(nodes.container(0).health().status, HealthStatus::Degraded);
    assert!(nodes.health(0).last_error.is_some());
    let report = nodes.container(0).room("42").async_remote().send_text("here alone");
    here.expect_text("here alone").await;
    let error = report.published().unwrap_err();
    assert!(error.is_cluster() && report.complete().is_err(), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert_eq!(nodes.health(0).counts.refused, 1);
    let began = Instant::now();
    let report = report.everywhere().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!((report.here, report.elsewhere, report.unsure.len()), (1, 0, 1));
    // questions do not wait either
    let who = nodes.container(0).room("42").members().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!((who.got.len(), &who.missing[..]), (1, &[nodes.health(1).id][..]));
    // a join is told that others do not know
    let session = nodes.container(0).sessions().iter().next().unwrap().clone();
    let join = session.join("another");
    assert!(join.is_member());
    assert!(join.await.unwrap_err().is_cluster());
    nodes.engine.restart().await;
    nodes.settle().await;
    assert_eq!(nodes.container(0).health().status, HealthStatus::Healthy);
    assert!(nodes.health(0).counts.reconnects >= 1);
    assert!(nodes.container(1).room("42").async_remote().send_text("both again").published().is_ok());
    there.expect_text("both again").await;
    timeout(SOON, here.expect_text("both again")).await.unwrap();
    // the refused message was never published: nothing is missing
    assert_eq!(nodes.health(1).counts.lost, 0);
}

pub async fn messages_wait_for_an_engine_that_comes_back_in_time<E: Engine>() {
    let queue = WhileDown::QueueFor(Duration::from_secs(15));
    let mut nodes = Nodes::<E>::with(2, |cluster| cluster.while_down(queue).queue_bytes(20_000)).await;
    let mut there = nodes.enter(1, "/chat/42").await;
    nodes.engine.stop().await;
    nodes.until("the link is lost", || !nodes.health(0).is_connected && !nodes.health(1).is_connected).await;
    let room = nodes.container(0).room("42");
    let accepted =
        (0..1000).take_while(|number| room.async_remote().send_text(format!("{number:0100}")).published().is_ok());
    let accepted = accepted.count();
    // within the bound, and not beyond
    assert!((80..200).contains(&accepted), "{accepted}");
    nodes.engine.restart().await;
    nodes.settle().await;
    // whichever node has its link first
    for number in 0..accepted {
        assert_eq!(timeout(SOON, there.next_text()).await.unwrap(), format!("{number:0100}"));
    }
    assert_eq!((nodes.health(0).counts.unsure, nodes.health(1).counts.lost), (0, 0));
}

pub async fn messages_that_waited_too_long_are_dropped_and_counted<E: Engine>() {
    let queue = WhileDown::QueueFor(Duration::from_secs(2));
    let mut nodes = Nodes::<E>::with(2, |cluster| cluster.while_down(queue)).await;
    let _there = nodes.enter(1, "/chat/42").await;
    nodes.engine.stop().await;
    nodes.until("the link is lost", || !nodes.health(0).is_connected).await;
    let unsure = nodes.health(0).counts.unsure;
    let room = nodes.container(0).room("42");
    assert!(room.async_remote().send_text("old").published().is_ok());
    nodes.until("it is dropped", || nodes.health(0).counts.unsure == unsure + 1).await;
    assert!(room.async_remote().send_text("too late").published().is_err());
}

pub async fn a_dead_node_is_noticed_and_nobody_waits_for_it<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut members = Vec::new();
    for node in 0..3 {
        members.push(nodes.enter(node, "/chat/42").await);
    }
    let who = nodes.container(0).room("42").members().await;
    assert_eq!((who.got.len(), who.missing.len()), (3, 0));
    assert_eq!(who.into_items().len(), 3);
    let dead = nodes.health(2).id;
    nodes.way(2).cut();
    let began = Instant::now();
    let who = nodes.container(0).room("42").members().await;
    assert_eq!((who.got.len(), &who.missing[..]), (2, &[dead][..]));
    nodes.until("the node is dead", || nodes.health(0).peers.iter().all(|(id, _)| *id != dead)).await;
    assert!(began.elapsed() <= Duration::from_millis(6_500), "{:?}", began.elapsed());
    let began = Instant::now();
    let who = nodes.container(0).room("42").members().await;
    assert!(began.elapsed() < Duration::from_secs(1) && who.is_complete());
    // it comes back, and everything is as before
    nodes.way(2).heal();
    nodes.settle().await;
    for number in 0..3 {
        nodes.until("its rooms are known", || nodes.health(2).is_connected).await;
        let report = nodes.container(number).room("42").async_remote().send_text("again").everywhere().await;
        if report.elsewhere == 2 {
            continue;
        }
        sleep(Duration::from_secs(1)).await;
        let report = nodes.container(number).room("42").async_remote().send_text("again").everywhere().await;
        assert_eq!((report.here, report.elsewhere), (1, 2), "{report}");
    }
}

pub async fn what_is_lost_in_a_partition_is_counted<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut there = nodes.enter(1, "/chat/42").await;
    let room = nodes.container(0).room("42");
    room.async_remote().send_text("before").everywhere().await;
    there.expect_text("before").await;
    // long enough that each takes the other for dead, and links are lost
    nodes.way(1).cut();
    nodes.until("the node is dead", || nodes.health(0).peers.is_empty()).await;
    for _ in 0..7 {
        room.async_remote().send_text("lost");
    }
    nodes.way(1).disconnect();
    nodes.way(1).heal();
    nodes.settle().await;
    nodes.until("each is counted", || nodes.health(1).counts.lost == 7).await;
    let report = room.async_remote().send_text("after").everywhere().await;
    assert_eq!(report.elsewhere, 1, "{report}");
    there.expect_text("after").await;
    assert_eq!(nodes.health(1).counts.duplicates, 0);
}

pub async fn users_are_reached_on_every_node<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut devices = Vec::new();
    for node in 0..3 {
        devices.push(nodes.enter(node, &format!("/chat/{node}?name=ann")).await);
    }
    let mut ben = nodes.enter(1, "/chat/1?name=ben").await;
    let ann = nodes.container(0).user("ann");
    for _ in 0..100 {
        if ann.everywhere().count().await.sum() == 3 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let report = ann.async_remote().send_text("to ann").everywhere().await;
    assert_eq!((report.here, report.elsewhere), (1, 2));
    for device in &mut devices {
        device.expect_text("to ann").await;
    }
    // all but one of them, from another node
    let here = nodes.container(1).user("ann").sessions().iter().next().unwrap().clone();
    nodes.container(1).user("ann").except(&here).async_remote().send_text("to the others");
    devices[0].expect_text("to the others").await;
    devices[2].expect_text("to the others").await;
    // operations: join, leave, close
    assert_eq!(ann.everywhere().join("vip").await.sum(), 3);
    let vip = nodes.container(2).room("vip");
    for _ in 0..100 {
        if vip.everywhere().count().await.sum() == 3 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(vip.members().await.into_items().iter().all(|member| member.user.as_deref() == Some("ann")));
    assert_eq!(ann.everywhere().leave("vip").await.sum(), 3);
    assert_eq!(vip.everywhere().count().await.sum(), 0);
    let reason = CloseReason::truncating(CloseCode::ViolatedPolicy, "logged out");
    assert_eq!(nodes.container(2).user("ann").close_all(reason), 1);
    for device in &mut devices {
        assert_eq!(timeout(SOON, device.expect_close(1008)).await.unwrap(), "logged out");
    }
    ben.send_text("still here").await;
    ben.expect_text("still here").await;
}

pub async fn one_session_and_all_sessions_are_reached_from_anywhere<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut one = nodes.enter(2, "/chat/42").await;
    let mut other = nodes.enter(1, "/chat/43").await;
    let id = nodes.container(2).sessions().iter().next().unwrap().id();
    let anywhere = nodes.container(0).session_anywhere(id);
    let report = anywhere.async_remote().send_text("to one").everywhere().await;
    assert_eq!((report.here, report.elsewhere), (0, 1));
    one.expect_text("to one").await;
    let report = nodes.container(0).everyone().async_remote().send_text("to all").everywhere().await;
    assert_eq!((report.here, report.elsewhere), (0, 2));
    one.expect_text("to all").await;
    other.expect_text("to all").await;
    assert_eq!(nodes.container(1).everyone().everywhere().count().await.sum(), 2);
    assert_eq!(anywhere.everywhere().join("late").await.sum(), 1);
    assert_eq!(nodes.container(2).room("late").len(), 1);
    assert!(!anywhere.close_with(CloseReason::from(CloseCode::NormalClosure)));
    timeout(SOON, one.expect_close(1000)).await.unwrap();
    assert_eq!(anywhere.everywhere().count().await.sum(), 0);
}

pub async fn several_rooms_reach_each_session_once<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut both = nodes.enter(1, "/chat/a").await;
    let session = nodes.container(1).sessions().iter().next().unwrap().clone();
    for room in ["b", "c", "d"] {
        session.join(room).await.unwrap();
    }
    let mut one = nodes.enter(1, "/chat/d").await;
    for number in 0..20 {
        let report =
            nodes.container(0).rooms(["a", "b", "c", "d", "none"]).async_remote().send_text(number.to_string());
        let report = report.everywhere().await;
        assert_eq!((report.elsewhere, report.nodes, report.of), (2, 2, 2));
    }
    for number in 0..20 {
        both.expect_text(&number.to_string()).await;
        one.expect_text(&number.to_string()).await;
    }
}

pub async fn large_and_compressed_messages_arrive<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut sender = nodes.enter(0, "/chat/42").await;
    let mut plain = nodes.enter(1, "/chat/42").await;
    let mut compressed = nodes.nodes[1].0.request("/chat/42").compression(Compression::ON).connect().await;
    compressed.expect_text("known").await;
    let mut local = nodes.nodes[0].0.request("/chat/42").compression(Compression::ON).connect().await;
    local.expect_text("known").await;
    for size in [0, 1, 125, 126, 5_000, 8 << 10, 60_000, 70_000, 400_000] {
        let text = "tea ".repeat(size / 4 + 1)[..size].to_owned();
        sender.send_text(text.clone()).await;
        for client in [&mut sender, &mut plain, &mut compressed, &mut local] {
            let came = timeout(SOON, client.next_text()).await.unwrap();
            assert!(came == text, "{} of {size}", came.len());
        }
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        sender.send_binary(&bytes).await;
        for client in [&mut plain, &mut compressed, &mut local] {
            let came = timeout(SOON, client.next_binary()).await.unwrap();
            assert!(came.as_ref() == bytes, "{} of {size}", came.len());
        }
    }
}

pub async fn a_message_that_no_engine_takes_is_refused<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut here = nodes.enter(0, "/chat/42").await;
    let _there = nodes.enter(1, "/chat/42").await;
    here.set_max_unread(64 << 20);
    let report = nodes.container(0).room("42").async_remote().send_binary(vec![7; 12 << 20]);
    assert_eq!(report.sent, 1);
    assert!(report.published().unwrap_err().to_string().contains("takes at most"));
    assert_eq!(report.everywhere().await.unsure.len(), 1);
}

pub async fn nodes_without_sessions_for_it_get_nothing<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut member = nodes.enter(0, "/chat/42").await;
    // after this a node knows that nobody else has sessions in the room
    nodes
        .until("it is not published", || {
            nodes.container(0).room("42").async_remote().send_text("alone");
            nodes.health(0).counts.not_needed > 0
        })
        .await;
    let before = nodes.health(0).counts;
    for _ in 0..100 {
        nodes.container(0).room("42").async_remote().send_text("alone");
    }
    let after = nodes.health(0).counts;
    assert_eq!((after.not_needed - before.not_needed, after.published - before.published), (100, 0));
    member.expect_text("alone").await;
    let _there = nodes.enter(1, "/chat/42").await;
    let received = nodes.health(2).counts.received;
    for _ in 0..100 {
        nodes.container(0).room("42").async_remote().send_text("both").everywhere().await;
    }
    assert_eq!(nodes.health(2).counts.received, received, "node 2 has no member");
    assert_eq!(nodes.health(1).counts.lost, 0);
}

pub async fn only_nodes_with_the_key_are_heard<E: Engine>() {
    let engine = E::start().await;
    let mut nodes = Nodes { engine, nodes: Vec::new() };
    for key in [Some("secret"), Some("secret"), Some("other"), None] {
        nodes
            .add(|cluster| match key {
                Some(key) => cluster.key(key),
                None => cluster,
            })
            .await;
    }
    nodes
        .until("the first two know each other", || {
            (0..2).all(|node| nodes.health(node).peers.iter().filter(|(_, name)| !name.is_empty()).count() == 1)
        })
        .await;
    let mut member = nodes.enter(1, "/chat/42").await;
    for node in [2, 3] {
        nodes.container(node).room("42").async_remote().send_text("forged");
        nodes.container(node).everyone().close_all(CloseReason::from(CloseCode::NormalClosure));
    }
    nodes.until("the forged are counted", || nodes.health(1).counts.rejected >= 4).await;
    nodes.container(0).room("42").async_remote().send_text("genuine");
    timeout(SOON, member.expect_text("genuine")).await.unwrap();
    assert!(nodes.health(2).peers.is_empty() && nodes.health(3).peers.is_empty());
}

pub async fn a_node_that_leaves_is_gone_at_once<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut there = nodes.enter(1, "/chat/42").await;
    let (shutdown, began) = (nodes.container(1).shutdown(Duration::from_secs(5)), Instant::now());
    let client = async {
        there.expect_close(1001).await;
    };
    let (counts, ()) = tokio::join!(shutdown, client);
    assert_eq!(counts.closed, 1);
    nodes.until("the node is gone", || nodes.health(0).peers.is_empty()).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(nodes.health(0).counts.deaths, 0);
}

pub async fn a_node_that_leaves_waits_for_no_answer<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    nodes.way(0).cut();
    let asked = nodes.health(1).counts.packets;
    let mut there = nodes.nodes[1].0.connect("/hasty/42").await;
    there.expect_text("here").await;
    nodes.until("node 0 is asked, and cannot answer", || nodes.health(1).counts.packets > asked).await;
    let began = Instant::now();
    let (counts, _) = tokio::join!(nodes.container(1).shutdown(Duration::from_secs(5)), there.expect_close(1001));
    assert_eq!(counts.closed, 1);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

pub async fn the_last_words_of_a_node_that_leaves_arrive<E: Engine>() {
    let nodes = Nodes::<E>::keeping(2).await;
    let mut here = nodes.enter(0, "/kept/42").await;
    let mut there = nodes.enter(1, "/kept/42").await;
    // what is published last is still under way when the node ends
    nodes.way(1).slow(Duration::from_millis(100));
    tokio::join!(nodes.container(1).shutdown(Duration::from_secs(5)), there.expect_close(1001));
    timeout(SOON, here.expect_text("farewell")).await.unwrap();
    nodes.until("the node is gone", || nodes.health(0).peers.is_empty()).await;
    assert_eq!(nodes.health(0).counts.deaths, 0);
}

pub async fn one_who_joins_after_a_lost_link_gets_nothing_earlier<E: Engine>() {
    let nodes = Nodes::<E>::keeping(2).await;
    let mut there = nodes.enter(1, "/kept/42").await;
    nodes.container(0).room("42").async_remote().send_text("first").everywhere().await;
    there.expect_text("first").await;
    nodes.way(1).cut();
    nodes.way(1).disconnect();
    nodes.until("the link is lost", || !nodes.health(1).is_connected).await;
    there.close(1000, "").await;
    there.expect_close(1000).await;
    nodes.container(0).room("42").async_remote().send_text("missed");
    nodes.way(1).heal();
    nodes.settle().await;
    nodes.container(0).room("42").async_remote().send_text("missed");
    nodes.until("the engine has all three", || nodes.health(0).counts.published == 3).await;
    let mut there = nodes.enter(1, "/kept/42").await;
    nodes.container(0).room("42").async_remote().send_text("later").everywhere().await;
    timeout(SOON, there.expect_text("later")).await.unwrap();
    let counts = nodes.health(1).counts;
    assert_eq!((counts.lost, counts.recovered), (0, 0), "{counts:?}");
}

pub async fn a_report_about_several_rooms_waits_as_for_one<E: Engine>() {
    let wait = Duration::from_secs(1);
    let nodes = Nodes::<E>::with(2, |cluster| cluster.request_timeout(wait)).await;
    let mut rooms = Vec::new();
    for room in ["a", "b", "c", "d"] {
        rooms.push(nodes.enter(1, &format!("/chat/{room}")).await);
    }
    nodes.way(1).cut();
    let began = Instant::now();
    let report = nodes.container(0).rooms(["a", "b", "c", "d"]).async_remote().send_text("hi").everywhere().await;
    assert_eq!((report.nodes, report.of), (1, 2));
    assert!(began.elapsed() < 2 * wait, "{:?}", began.elapsed());
}

pub async fn an_engine_that_stalls_is_noticed<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut there = nodes.enter(1, "/chat/42").await;
    nodes.way(0).slow(Duration::from_millis(300));
    let report = nodes.container(0).room("42").async_remote().send_text("slow").everywhere().await;
    assert_eq!(report.elsewhere, 1, "{report}");
    there.expect_text("slow").await;
    nodes.way(0).heal();
    nodes.way(0).cut();
    nodes.until("the link is given up", || !nodes.health(0).is_connected).await;
    assert!(nodes.health(1).is_connected);
    nodes.way(0).heal();
    nodes.settle().await;
}

pub async fn presence_is_one_list_on_all_nodes<E: Engine>() {
    let nodes = Nodes::<E>::of(4).await;
    let (mut of_ben, mut of_cy) = (Known::default(), Known::default());
    let mut ben = nodes.nodes[1].0.connect("/hall/42?name=ben").await;
    of_ben.until(&mut ben, &[("ben", 1)]).await;
    let mut ann = nodes.nodes[0].0.connect("/hall/42?name=ann").await;
    of_ben.until(&mut ben, &[("ann", 1), ("ben", 1)]).await;
    // a second device is no second user
    let mut phone = nodes.nodes[1].0.connect("/hall/42?name=ann").await;
    of_ben.until(&mut ben, &[("ann", 2), ("ben", 1)]).await;
    // a node whose first session this is learns of everyone
    let mut cy = nodes.nodes[2].0.connect("/hall/42?name=cy").await;
    of_cy.until(&mut cy, &[("ann", 2), ("ben", 1), ("cy", 1)]).await;
    of_ben.until(&mut ben, &[("ann", 2), ("ben", 1), ("cy", 1)]).await;
    for node in 0..4 {
        // the last node has no session in the room
        assert_eq!(nodes.present(node, "42").await, (vec!["ann".into(), "ben".into(), "cy".into()], 0), "node {node}");
        if node < 3 {
            nodes.until("it counts", || nodes.container(node).room("42").present_here().count() == 3).await;
        }
    }
    // metas travel
    phone.send_text("away").await;
    let is_away = || {
        let user = nodes.container(2).room("42").present_here().user::<String>("ann");
        user.is_some_and(|user| user.devices.contains(&Some("away".to_owned())) && user.devices.len() == 2)
    };
    nodes.until("the meta is known", is_away).await;
    // one device goes, and after the grace the other
    phone.close(1000, "").await;
    of_ben.until(&mut ben, &[("ann", 1), ("ben", 1), ("cy", 1)]).await;
    ann.close(1000, "").await;
    of_ben.until(&mut ben, &[("ben", 1), ("cy", 1)]).await;
    of_cy.until(&mut cy, &[("ben", 1), ("cy", 1)]).await;
    assert_eq!(nodes.present(3, "42").await, (vec!["ben".into(), "cy".into()], 0));
}

pub async fn a_user_who_comes_back_on_another_node_has_not_left<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut of_ben = Known::default();
    let mut ben = nodes.nodes[2].0.connect("/hall/42?name=ben").await;
    let mut ann = nodes.nodes[0].0.connect("/hall/42?name=ann").await;
    of_ben.until(&mut ben, &[("ann", 1), ("ben", 1)]).await;
    for round in 0..4 {
        ann.close(1001, "").await;
        sleep(Duration::from_millis(300)).await;
        ann = nodes.nodes[(round + 1) % 2].0.connect("/hall/42?name=ann").await;
    }
    // longer than the grace: she has neither left nor joined; on a busy machine the new device may come before the news
    // that the old one has ended
    sleep(Duration::from_secs(4)).await;
    ben.send_text("here").await;
    loop {
        let text = timeout(SOON, ben.next_text()).await.unwrap();
        assert!(!text.contains("+ann") && !text.contains("-ann"), "{text}");
        if text.contains("~ben(1)") {
            break;
        }
    }
    assert_eq!(nodes.present(2, "42").await, (vec!["ann".into(), "ben".into()], 0));
}

pub async fn presence_is_right_ten_seconds_after_a_node_dies_or_a_partition_heals<E: Engine>() {
    let nodes = Nodes::<E>::of(3).await;
    let mut of_ben = Known::default();
    let mut ben = nodes.nodes[2].0.connect("/hall/42?name=ben").await;
    let _ann = nodes.nodes[0].0.connect("/hall/42?name=ann").await;
    let _cy = nodes.nodes[1].0.connect("/hall/42?name=cy").await;
    of_ben.until(&mut ben, &[("ann", 1), ("ben", 1), ("cy", 1)]).await;
    let cut = Instant::now();
    nodes.way(1).cut();
    of_ben.until(&mut ben, &[("ann", 1), ("ben", 1)]).await;
    assert!(cut.elapsed() <= Duration::from_secs(10), "{:?}", cut.elapsed());
    assert_eq!(nodes.present(2, "42").await, (vec!["ann".into(), "ben".into()], 0));
    // somebody comes and somebody goes on the other side meanwhile
    let _dan = nodes.nodes[1].0.connect("/hall/42?name=dan").await;
    let healed = Instant::now();
    nodes.way(1).heal();
    let all = [("ann", 1), ("ben", 1), ("cy", 1), ("dan", 1)];
    of_ben.until(&mut ben, &all).await;
    assert!(healed.elapsed() <= Duration::from_secs(10), "{:?}", healed.elapsed());
    for node in 0..3 {
        nodes.until("it counts", || nodes.container(node).room("42").present_here().count() == 4).await;
        assert_eq!(nodes.present(node, "42").await.0.len(), 4, "node {node}");
    }
    // a link that is lost for a moment makes nobody leave
    nodes.way(0).disconnect();
    nodes.way(1).disconnect();
    nodes.settle().await;
    sleep(Duration::from_secs(3)).await;
    ben.send_text("here").await;
    assert_eq!(timeout(SOON, ben.next_text()).await.unwrap(), "~ben(1)");
}

pub async fn kept_messages_are_fetched_after_a_partition_once_and_in_order<E: Engine>() {
    let nodes = Nodes::<E>::keeping(2).await;
    let mut there = nodes.enter(1, "/kept/42").await;
    let mut other = nodes.enter(1, "/kept/43").await;
    let send = |room: &str, number: usize| nodes.container(0).room(room).async_remote().send_text(number.to_string());
    for number in 0..10 {
        send("42", number).everywhere().await;
    }
    nodes.way(1).cut();
    for number in 10..40 {
        send("42", number);
        send("43", number);
    }
    nodes.until("the node is dead", || nodes.health(0).peers.is_empty()).await;
    for number in 40..70 {
        send("42", number);
    }
    nodes.way(1).disconnect();
    nodes.way(1).heal();
    nodes.settle().await;
    for number in 70..80 {
        send("42", number);
    }
    for number in 0..80 {
        let text = timeout(SOON, there.next_text()).await.unwrap();
        assert_eq!(text, number.to_string(), "{:#?}", nodes.health(1));
    }
    for number in 10..40 {
        assert_eq!(timeout(SOON, other.next_text()).await.unwrap(), number.to_string());
    }
    let counts = nodes.health(1).counts;
    assert!(counts.recovered > 0, "{counts:?}");
    assert_eq!(counts.lost, 0, "{counts:?}");
}

pub async fn an_object_is_encoded_for_the_subprotocols_of_other_nodes<E: Engine>() {
    let nodes = Nodes::<E>::of(2).await;
    let mut clients = Vec::new();
    for name in ["one", "two"] {
        let mut client = nodes.nodes[1].0.request("/spoken").subprotocol(name).connect().await;
        client.expect_text("known").await;
        clients.push((name, client));
    }
    // without a session on the sending node, and with one
    for with_local in [false, true] {
        if with_local {
            let mut client = nodes.nodes[0].0.request("/spoken").subprotocol("one").connect().await;
            client.expect_text("known").await;
            clients.push(("one", client));
        }
        let report = nodes.container(0).room("spoken").async_remote().send_object(&Spoken).unwrap();
        assert_eq!(report.everywhere().await.elsewhere, 2);
        for (name, client) in &mut clients {
            timeout(SOON, client.expect_text(name)).await.unwrap();
        }
    }
}

pub async fn shared_properties_are_asked_and_select_sessions<E: Engine>() {
    let nodes = Nodes::<E>::keeping(3).await;
    let mut members = Vec::new();
    for (node, team) in [(0, "red"), (1, "red"), (1, "blue"), (2, "blue")] {
        let mut member = nodes.enter(node, "/kept/42").await;
        member.send_text(team).await;
        member.expect_text(team).await;
        members.push(member);
    }
    let _none = nodes.enter(2, "/kept/42").await;
    let room = nodes.container(0).room("42").everywhere();
    let teams = room.shared::<Team>().await.unwrap();
    assert_eq!((teams.got.len(), teams.missing.len()), (3, 0));
    let mut names: Vec<_> = teams.into_items().into_iter().map(|(_, team)| team.0).collect();
    names.sort();
    assert_eq!(names, ["blue", "blue", "red", "red"]);
    let reds = room.with_shared(&Team("red".to_owned())).unwrap();
    assert_eq!(reds.count().await.sum(), 2);
    let report = reds.async_remote().send_text("go!").everywhere().await;
    assert_eq!((report.here, report.elsewhere), (1, 1), "{report}");
    members[0].expect_text("go!").await;
    members[1].expect_text("go!").await;
    let reason = CloseReason::from(CloseCode::NormalClosure);
    let blues = nodes.container(0).everyone().everywhere().with_shared(&Team("blue".to_owned())).unwrap();
    assert_eq!(blues.close_all(reason).await.sum(), 2);
    members[2].expect_close(1000).await;
    members[3].expect_close(1000).await;
    let error = room.shared::<u64>().await.unwrap_err();
    assert!(error.is_deployment() && error.to_string().contains("shared(u64)"), "{error}");
}

/// The tests, each as one of this engine.
#[macro_export]
macro_rules! suite {
    ($engine:ty, [$($attributes:tt)*]) => {
        suite!(@ $engine, [$($attributes)*],
            a_message_reaches_members_on_every_node_once
            messages_of_a_node_to_a_room_keep_their_order
            a_message_sent_after_a_join_is_known_arrives
            everywhere_says_where_a_message_has_arrived
            local_sessions_are_served_while_the_engine_is_down
            messages_wait_for_an_engine_that_comes_back_in_time
            messages_that_waited_too_long_are_dropped_and_counted
            a_dead_node_is_noticed_and_nobody_waits_for_it
            what_is_lost_in_a_partition_is_counted
            users_are_reached_on_every_node
            one_session_and_all_sessions_are_reached_from_anywhere
            several_rooms_reach_each_session_once
            large_and_compressed_messages_arrive
            a_message_that_no_engine_takes_is_refused
            nodes_without_sessions_for_it_get_nothing
            only_nodes_with_the_key_are_heard
            a_node_that_leaves_is_gone_at_once
            a_node_that_leaves_waits_for_no_answer
            the_last_words_of_a_node_that_leaves_arrive
            one_who_joins_after_a_lost_link_gets_nothing_earlier
            a_report_about_several_rooms_waits_as_for_one
            an_engine_that_stalls_is_noticed
            kept_messages_are_fetched_after_a_partition_once_and_in_order
            an_object_is_encoded_for_the_subprotocols_of_other_nodes
            shared_properties_are_asked_and_select_sessions
            presence_is_one_list_on_all_nodes
            a_user_who_comes_back_on_another_node_has_not_left
            presence_is_right_ten_seconds_after_a_node_dies_or_a_partition_heals
        );
    };
    (@ $engine:ty, $attributes:tt, $($test:ident)*) => {
        $(suite!(@@ $engine, $attributes, $test);)*
    };
    (@@ $engine:ty, [$($attributes:tt)*], $test:ident) => {
        $($attributes)*
        async fn $test() {
            $crate::suite::$test::<$engine>().await;
        }
    };
}
