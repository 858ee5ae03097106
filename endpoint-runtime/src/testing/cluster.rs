//! A cluster in memory: several containers on one engine, with links that can be cut and nodes that can be killed.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::TestServer;
use crate::cluster::{Cluster, Memory, MemoryPort};
use crate::container::registration::ServerEndpoint;
use crate::container::{ContainerBuilder, ServerContainer};

/// A cluster of containers in one process, on a [`Memory`] engine.
///
/// Everything but the transport between the nodes is real. With a paused clock a node dies in no time.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::test::TestCluster;
///
/// #[server_endpoint("/chat")]
/// #[derive(Default)]
/// struct Chat;
///
/// impl Chat {
///     #[on_open]
///     fn enter(&mut self, session: &Session) { session.join("lobby"); }
///
///     #[on_message]
///     fn say(&mut self, line: &str, session: &Session) {
///         session.room("lobby").async_remote().send_text(line);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cluster = TestCluster::of::<Chat>(3);
/// cluster.settle().await;
/// let mut ann = cluster.node(0).connect("/chat").await;
/// let mut ben = cluster.node(2).connect("/chat").await;
/// # cluster.settle().await;
/// ann.send_text("hello from another node").await;
/// ben.expect_text("hello from another node").await;
/// # }
/// ```
pub struct TestCluster {
    engine: Memory,
    nodes: Vec<Member>,
    /// Number of nodes that were ever started.
    started: u64,
    seed: u64,
    build: Box<dyn Fn(ContainerBuilder) -> ContainerBuilder + Send + Sync>,
    settings: Box<dyn Fn(Cluster) -> Cluster + Send + Sync>,
}

struct Member {
    server: TestServer,
    port: MemoryPort,
}

impl TestCluster {
    /// A cluster of so many nodes, each with the endpoint `E` and default settings.
    ///
    /// # Panics
    /// The containers cannot be built, or there is no tokio runtime.
    #[track_caller]
    pub fn of<E: ServerEndpoint>(nodes: usize) -> Self {
        Self::new(nodes, |builder| builder.register::<E>())
    }

    /// A cluster of so many nodes, each built by `build`. The nodes are called `node-0`, `node-1` and so on.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[track_caller]
    pub fn new(nodes: usize, build: impl Fn(ContainerBuilder) -> ContainerBuilder + Send + Sync + 'static) -> Self {
        Self::with_settings(nodes, build, |cluster| cluster)
    }

    /// As [`new`](Self::new), with settings of the cluster.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[track_caller]
    pub fn with_settings(
        nodes: usize,
        build: impl Fn(ContainerBuilder) -> ContainerBuilder + Send + Sync + 'static,
        settings: impl Fn(Cluster) -> Cluster + Send + Sync + 'static,
    ) -> Self {
        let (engine, build, settings) = (Memory::new(), Box::new(build), Box::new(settings));
        let mut cluster = Self { engine, nodes: Vec::new(), started: 0, seed: 1, build, settings };
        (0..nodes).for_each(|_| cluster.add());
        cluster
    }

    /// Replaces the seed of what seems random: IDs of nodes, pauses, lost packets. Nodes that are started from now on
    /// have it; begin with a cluster of no nodes, and [`add`](Self::add) them. With a paused clock on one thread, the same
    /// seed gives the same run.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a node.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[track_caller]
    pub fn add(&mut self) {
        let member = self.start(self.nodes.len());
        self.nodes.push(member);
    }

    #[track_caller]
    fn start(&mut self, number: usize) -> Member {
        let port = self.engine.port();
        self.started += 1;
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.started);
        let settings = (self.settings)(Cluster::on(port.clone()).node(format!("node-{number}"))).seeded(seed);
        let container = (self.build)(ServerContainer::builder()).cluster(settings).build();
        match container {
            Ok(container) => Member { server: TestServer::new(container), port },
            Err(error) => panic!("{error}"),
        }
    }

    /// A node, counted from zero.
    ///
    /// # Panics
    /// There is no such node.
    #[track_caller]
    pub fn node(&self, number: usize) -> &TestServer {
        &self.nodes[number].server
    }

    /// Number of nodes, those that were killed included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The engine, to stop and start it.
    pub fn engine(&self) -> &Memory {
        &self.engine
    }

    /// The way of a node to the engine, to cut it, slow it, make it lose packets, or close its links.
    ///
    /// # Panics
    /// There is no such node.
    #[track_caller]
    pub fn port(&self, number: usize) -> &MemoryPort {
        &self.nodes[number].port
    }

    /// Kills a node, as `kill -9` does: the others are not told, and its sessions end without a closing handshake.
    ///
    /// # Panics
    /// There is no such node.
    #[track_caller]
    pub fn kill(&mut self, number: usize) {
        let member = &self.nodes[number];
        member.port.cut();
        member.port.disconnect();
        member.server.container().abort();
    }

    /// Starts a killed node again, with the same name.
    ///
    /// # Panics
    /// As [`of`](Self::of), and if there is no such node.
    #[track_caller]
    pub fn restart(&mut self, number: usize) {
        let member = self.start(number);
        self.nodes[number] = member;
    }

    /// Waits until all nodes that can be reached know each other and each other's rooms.
    ///
    /// # Panics
    /// That takes more than 30 seconds of the clock.
    pub async fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if self.is_settled() {
                return;
            }
            assert!(Instant::now() < end, "the nodes do not know each other: {self:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_settled(&self) -> bool {
        let nodes = self.nodes.iter().filter_map(|member| member.server.container().health().cluster);
        let connected: Vec<_> = nodes.filter(|node| node.is_connected).collect();
        let know_each_other = connected.iter().all(|node| {
            let others = connected.iter().filter(|other| other.id != node.id);
            node.peers.len() == connected.len() - 1
                && others
                    .into_iter()
                    .all(|other| node.peers.iter().any(|(id, name)| *id == other.id && !name.is_empty()))
        });
        know_each_other && self.nodes.iter().all(|member| member.server.container().is_known())
    }
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes.iter().map(|member| member.server.container().health().cluster);
        f.debug_list().entries(nodes).finish()
    }
}
