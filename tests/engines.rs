//! The guarantees of a cluster, asked of Redis and of NATS. The contract of an engine is asked of a Redis Cluster as well, in
//! `endpoint-redis`.

#[path = "support/engines.rs"]
mod engines;
#[path = "cluster/suite.rs"]
mod suite;
#[path = "support/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use endpoint_nats::Nats;
use endpoint_redis::Redis;
use endpoint_runtime::cluster::Cluster;
use suite::{Engine, Way};
use wire::Wire;

/// An engine on this machine, and the wires to it.
struct Server<const KIND: char>(engines::Engine);

const REDIS: char = 'r';
const NATS: char = 'n';

/// The way of one node: the engine's client sees the wire alone.
struct Cable<const KIND: char>(Wire);

impl<const KIND: char> Engine for Server<KIND> {
    type Way = Cable<KIND>;

    async fn start() -> Self {
        Self(tokio::task::block_in_place(|| match KIND {
            REDIS => engines::Engine::redis(&[]),
            _ => engines::Engine::nats(true),
        }))
    }

    async fn way(&self) -> Cable<KIND> {
        Cable(Wire::to(SocketAddr::from(([127, 0, 0, 1], self.0.ports()[0]))).await)
    }

    async fn stop(&mut self) {
        tokio::task::block_in_place(|| self.0.kill());
    }

    async fn restart(&mut self) {
        tokio::task::block_in_place(|| self.0.start());
    }
}

impl<const KIND: char> Way for Cable<KIND> {
    async fn cluster(&self) -> Cluster {
        let addr = self.0.addr();
        match KIND {
            REDIS => Redis::connect(&format!("redis://{addr}/")).await.unwrap().into(),
            _ => Nats::connect(&format!("nats://{addr}")).await.unwrap().into(),
        }
    }

    fn cut(&self) {
        self.0.cut();
    }

    fn heal(&self) {
        self.0.heal();
    }

    fn disconnect(&self) {
        self.0.disconnect();
    }

    fn slow(&self, delay: Duration) {
        self.0.slow(delay);
    }
}

mod redis {
    use super::*;

    suite!(
        Server<REDIS>,
        [#[tokio::test(flavor = "multi_thread")]
        #[ignore = "needs redis-server (ENDPOINT_REDIS_SERVER)"]]
    );
}

mod nats {
    use super::*;

    suite!(
        Server<NATS>,
        [#[tokio::test(flavor = "multi_thread")]
        #[ignore = "needs nats-server (ENDPOINT_NATS_SERVER)"]]
    );
}
