//! Several containers that act as one, on an engine in memory. `tests/engines.rs` asks the same of Redis and NATS.

#[path = "cluster/suite.rs"]
mod suite;

use std::time::Duration;

use endpoint_runtime::cluster::{Cluster, Memory, MemoryPort};
use suite::{Engine, Way};

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
