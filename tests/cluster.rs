//! Several containers that act as one, on an engine in memory. `tests/engines.rs` asks the same of Redis and NATS.

#[path = "cluster/suite.rs"]
mod suite;

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::cluster::{
    Backplane, BackplaneFuture, BackplaneLink, Cluster, Inbound, Memory, MemoryPort, WhileDown,
};
use endpoint_runtime::prelude::*;
use suite::{Engine, Nodes, Way};
use tokio::time::{Instant, sleep};

impl Engine for Memory {
    type Way = MemoryPort;

    async fn start() -> Self {
        Memory::new()
    }

    async fn way(&self) -> MemoryPort {
        self.port()
    }

    async fn stop(&mut self) {
        Memory::stop(self);
    }

    async fn restart(&mut self) {
        Memory::start(self);
    }
}

impl Way for MemoryPort {
    async fn cluster(&self) -> Cluster {
        Cluster::on(self.clone())
    }

    fn cut(&self) {
        MemoryPort::cut(self);
    }

    fn heal(&self) {
        MemoryPort::heal(self);
    }

    fn disconnect(&self) {
        MemoryPort::disconnect(self);
    }

    fn slow(&self, delay: Duration) {
        MemoryPort::slow(self, delay);
    }
}

mod memory {
    use super::*;

    suite!(Memory, [#[tokio::test(start_paused = true)]]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_being_published_when_the_link_is_lost_are_unsure() {
    for stalls in [true, false] {
        let nodes = Nodes::<Memory>::with(2, |cluster| cluster.while_down(WhileDown::Refuse)).await;
        let _there = nodes.enter(1, "/chat/42").await;
        nodes.way(0).cut();
        assert!(nodes.container(0).room("42").async_remote().send_text("on its way").published().is_ok());
        sleep(Duration::from_millis(1)).await;
        if !stalls {
            nodes.way(0).disconnect();
        }
        nodes.until("the link is lost", || !nodes.health(0).is_connected).await;
        assert_eq!(nodes.health(0).counts.unsure, 1, "stalls: {stalls}");
    }
}

/// An engine whose first attempt to connect is swallowed.
struct Swallowing {
    engine: Memory,
    attempts: AtomicUsize,
}

impl Backplane for Swallowing {
    fn name(&self) -> &'static str {
        "swallowing"
    }

    fn connect(&self, inbound: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>> {
        match self.attempts.fetch_add(1, Ordering::Relaxed) {
            0 => Box::pin(pending()),
            _ => self.engine.connect(inbound),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_is_swallowed_does_not_hold_up_the_next() {
    let cluster = Cluster::on(Swallowing { engine: Memory::new(), attempts: AtomicUsize::new(0) });
    let container = ServerContainer::builder().register::<suite::Chat>().cluster(cluster).build().unwrap();
    let began = Instant::now();
    while !container.health().cluster.unwrap().is_connected {
        sleep(Duration::from_millis(10)).await;
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
