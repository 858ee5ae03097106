//! What a container counts and measures, as one snapshot.

use std::time::Duration;

use super::service::ServerContainer;
use crate::cluster::{ClusterHealth, Health, HealthStatus};
use crate::observe::closes::CloseCount;
use crate::observe::counters::{ConnectionCounts, EndpointCounts, ErrorCounts};
use crate::observe::histogram::Durations;
use crate::observe::statuses::HandshakeCount;
use crate::observe::tally::Traffic;
use crate::session::OpenSet;
use endpoint_wire::budget::Budget;

/// Statistics and health.
impl ServerContainer {
    /// What the container has counted and measured so far. It needs no cargo feature, and counting is always on.
    ///
    /// It asks each open session, about a tenth of a microsecond each, and holds no lock meanwhile. Counts are since the
    /// container was built; those of an endpoint since it was mounted.
    ///
    /// ```
    /// # use endpoint_runtime::ServerContainer;
    /// fn report(container: &ServerContainer) {
    ///     for endpoint in container.stats().endpoints {
    ///         println!("{}: {} sessions, {:?}", endpoint.path, endpoint.sessions, endpoint.traffic);
    ///     }
    /// }
    /// ```
    pub fn stats(&self) -> Stats {
        let inner = &self.0;
        let mut endpoints: Vec<_> = inner.table().sets().map(|set| EndpointStats::of(&set)).collect();
        endpoints.sort_by(|a, b| a.path.cmp(&b.path));
        let budgets = &inner.ground.budgets;
        Stats {
            uptime: inner.built.elapsed(),
            is_ready: self.is_ready(),
            sessions: endpoints.iter().map(|endpoint| endpoint.sessions).sum(),
            endpoints,
            connections: inner.connections.now(),
            handshakes: inner.handshakes.now(),
            handshake_durations: inner.handshakes.durations.now(),
            send_queues: Pool::of(&budgets.send),
            unfinished_messages: Pool::of(&budgets.receive),
            compression: Pool::of(&inner.compression_budget),
            cluster: inner.ground.groups.cluster.get().map(|membership| membership.0.health()),
        }
    }

    /// Whether the container accepts handshakes: true until a drain or a shutdown begins. For a load balancer; see
    /// [`readiness_service`](Self::readiness_service).
    pub fn is_ready(&self) -> bool {
        !self.is_draining()
    }

    /// The state of the container, for a load balancer or an operator. As an answer to a request:
    /// [`health_service`](Self::health_service).
    pub fn health(&self) -> Health {
        let inner = &self.0;
        let cluster = inner.ground.groups.cluster.get().map(|membership| membership.0.health());
        let budgets = &inner.ground.budgets;
        let mut reasons = Vec::new();
        if cluster.as_ref().is_some_and(|cluster| !cluster.is_connected) {
            reasons.push("the engine of the cluster cannot be reached");
        }
        if budgets.send.is_used_up() {
            reasons.push("the budget for send queues is used up (send_budget)");
        }
        if budgets.receive.is_used_up() {
            reasons.push("the budget for incomplete messages is used up (receive_budget)");
        }
        let status = if reasons.is_empty() { HealthStatus::Healthy } else { HealthStatus::Degraded };
        let sessions = inner.table().sets().map(|set| set.open_count()).sum();
        Health { status, is_draining: !self.is_ready(), sessions, reasons, cluster }
    }
}

/// Snapshot of what a container has counted and measured ([`ServerContainer::stats`]).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Time since the container was built.
    pub uptime: Duration,
    /// Whether the container accepts handshakes ([`ServerContainer::is_ready`]).
    pub is_ready: bool,
    /// Number of open sessions.
    pub sessions: usize,
    /// The endpoints that are mounted or have sessions, by path. Two types may have one path if one of them is only
    /// served by hand.
    pub endpoints: Vec<EndpointStats>,
    /// The TCP connections of the server's listeners. All are zero for a container without its own listener.
    pub connections: ConnectionCounts,
    /// Answers to opening handshakes, by status; statuses that did not occur are left out.
    pub handshakes: Vec<HandshakeCount>,
    /// Time from a handshake's request to its answer.
    pub handshake_durations: Durations,
    /// Bytes that wait for slow peers, and the [`send_budget`](crate::ContainerBuilder::send_budget).
    pub send_queues: Pool,
    /// Bytes of incomplete messages, and the [`receive_budget`](crate::ContainerBuilder::receive_budget).
    pub unfinished_messages: Pool,
    /// Bytes that compression holds, and the [`compression_budget`](crate::ContainerBuilder::compression_budget).
    pub compression: Pool,
    /// The cluster; `None` for a container without one.
    pub cluster: Option<ClusterHealth>,
}

/// Memory of all sessions together, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// Bytes in use now. It may exceed the limit a little.
    pub used: usize,
    /// The budget.
    pub limit: usize,
}

impl Pool {
    fn of(budget: &Budget) -> Self {
        Self { used: budget.used(), limit: budget.limit() }
    }
}

/// What was counted and measured about one endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The path or template with the context path, such as `/chat/{room}`.
    pub path: String,
    /// The endpoint's type.
    pub name: &'static str,
    /// Number of open sessions.
    pub sessions: usize,
    /// Messages and bytes of all sessions so far, the open ones included.
    pub traffic: Traffic,
    /// Other counts.
    pub counts: EndpointCounts,
    /// Errors of handlers and peers, by kind.
    pub errors: ErrorCounts,
    /// How sessions ended; ways that did not occur are left out.
    pub closes: Vec<CloseCount>,
    /// How long sessions lasted that have ended.
    pub session_durations: Durations,
    /// Round trips of pings.
    pub round_trips: Durations,
    /// Times of messages from the first interceptor to the end of the handler, if they are [measured](crate::ContainerBuilder::measure_handlers).
    pub handler_durations: Durations,
}

impl EndpointStats {
    fn of(set: &OpenSet) -> Self {
        let (traffic, sessions) = set.traffic();
        let measures = &set.measures;
        Self {
            path: set.path.to_string(),
            name: set.name,
            sessions,
            traffic,
            counts: set.counters.now(),
            errors: measures.errors.now(),
            closes: measures.closes.now(),
            session_durations: measures.lives.now(),
            round_trips: measures.round_trips.now(),
            handler_durations: measures.calls.now(),
        }
    }
}
