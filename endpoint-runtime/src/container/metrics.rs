//! The metrics of a container: each with its name, its meaning and its labels, made of the statistics.
//!
//! No label can grow without bound: an endpoint is its path template, and codes, statuses and kinds are closed sets.

use super::stats::{EndpointStats, Stats};
use crate::cluster::ClusterHealth;
use crate::observe::histogram::Durations;
use crate::observe::metrics::MetricKind::{self, Counter, Gauge, Histogram};
use crate::observe::metrics::{Family, Metrics};

impl Stats {
    /// The statistics as metrics with names and labels: what [`metrics_service`](crate::ServerContainer::metrics_service)
    /// answers, and what a test asks by name. The guide's chapter "Observe" explains each.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        self.add_server(&mut metrics);
        self.add_sessions(&mut metrics);
        self.add_messages(&mut metrics);
        self.add_memory(&mut metrics);
        self.add_cluster(&mut metrics);
        metrics
    }

    fn add_server(&self, metrics: &mut Metrics) {
        let help = "Seconds since the container was built.";
        metrics.family("websocket_server_uptime_seconds", Gauge, help).add(&[], self.uptime.as_secs_f64());
        let help = "1 while handshakes are accepted, 0 once a shutdown has begun.";
        metrics.family("websocket_server_ready", Gauge, help).add(&[], f64::from(u8::from(self.is_ready)));
        let connections = metrics.family(
            "websocket_server_connections_total",
            Counter,
            "TCP connections of the listeners, accepted, or refused because of a limit.",
        );
        let served = self.connections.accepted.saturating_sub(self.connections.refused);
        connections.add(&[("outcome", "accepted")], served as f64);
        connections.add(&[("outcome", "refused")], self.connections.refused as f64);
        let help = "Open TCP connections of the listeners that are not sessions.";
        metrics.family("websocket_server_http_connections", Gauge, help).add(&[], self.connections.http as f64);
        let handshakes =
            metrics.family("websocket_server_handshakes_total", Counter, "Opening handshakes by HTTP status.");
        for counted in &self.handshakes {
            handshakes.add(&[("status", &code(counted.status))], counted.count as f64);
        }
        let help = "Seconds from the request of an opening handshake to its answer.";
        let family = metrics.family("websocket_server_handshake_duration_seconds", Histogram, help);
        family.add_durations(&[], &self.handshake_durations);
    }

    fn add_sessions(&self, metrics: &mut Metrics) {
        let mut each = Each { stats: self, metrics };
        each.value("websocket_server_sessions", Gauge, "Open sessions.", |it| it.sessions as u64);
        let help = "Sessions that were opened.";
        each.value("websocket_server_sessions_opened_total", Counter, help, |it| it.counts.opened);
        let help = "Sessions that ended, by close code and by the side that began the close.";
        each.family("websocket_server_sessions_closed_total", Counter, help, |family, it| {
            for close in &it.closes {
                let code = code(close.code);
                let labels = [("endpoint", &*it.path), ("code", &code), ("initiator", close.initiator)];
                family.add(&labels, close.count as f64);
            }
        });
        let help = "Seconds that sessions lasted which have ended.";
        each.durations("websocket_server_session_duration_seconds", help, |it| &it.session_durations);
        let help = "Sessions that ended because of a timeout, by kind.";
        each.family("websocket_server_session_timeouts_total", Counter, help, |family, it| {
            let counts = &it.counts;
            let kinds = [
                ("ping", counts.ping_timeouts),
                ("idle", counts.idle_timeouts),
                ("send", counts.send_timeouts),
                ("expired", counts.expired),
            ];
            for (kind, count) in kinds {
                family.add(&[("endpoint", &it.path), ("kind", kind)], count as f64);
            }
        });
        let help = "Seconds from an automatic ping to its pong.";
        each.durations("websocket_server_ping_round_trip_seconds", help, |it| &it.round_trips);
    }

    fn add_messages(&self, metrics: &mut Metrics) {
        let mut each = Each { stats: self, metrics };
        let mut both_ways = |name, help, received: fn(&EndpointStats) -> u64, sent: fn(&EndpointStats) -> u64| {
            each.family(name, Counter, help, |family, it| {
                family.add(&[("endpoint", &it.path), ("direction", "received")], received(it) as f64);
                family.add(&[("endpoint", &it.path), ("direction", "sent")], sent(it) as f64);
            });
        };
        let help = "Text and binary messages, by direction.";
        let (received, sent) =
            (|it: &EndpointStats| it.traffic.messages_received, |it: &EndpointStats| it.traffic.messages_sent);
        both_ways("websocket_server_messages_total", help, received, sent);
        let help = "Bytes of frames on the socket, by direction.";
        let (received, sent) =
            (|it: &EndpointStats| it.traffic.bytes_received, |it: &EndpointStats| it.traffic.bytes_sent);
        both_ways("websocket_server_bytes_total", help, received, sent);
        let help = "Messages that were dropped, by reason.";
        each.family("websocket_server_messages_dropped_total", Counter, help, |family, it| {
            let reasons = [
                ("queue_full", it.traffic.messages_dropped),
                ("no_handler", it.counts.unhandled),
                ("session_ended", it.counts.unheard),
            ];
            for (reason, count) in reasons {
                family.add(&[("endpoint", &it.path), ("reason", reason)], count as f64);
            }
        });
        let help = "Messages over a rate of their peer: dropped, or followed by a pause.";
        each.value("websocket_server_messages_rate_limited_total", Counter, help, |it| it.counts.rate_limited);
        let help = "Errors of handlers and peers, by kind.";
        each.family("websocket_server_errors_total", Counter, help, |family, it| {
            for (kind, count) in it.errors.named() {
                family.add(&[("endpoint", &it.path), ("kind", kind)], count as f64);
            }
        });
        let help = "Seconds that messages took from the first interceptor to the end of the handler, waits included.";
        each.durations("websocket_server_handler_duration_seconds", help, |it| &it.handler_durations);
    }

    fn add_memory(&self, metrics: &mut Metrics) {
        let pools = [
            ("send_queues", self.send_queues),
            ("unfinished_messages", self.unfinished_messages),
            ("compression", self.compression),
        ];
        let family = metrics.family("websocket_server_memory_bytes", Gauge, "Memory of all sessions, by pool.");
        pools.iter().for_each(|(pool, memory)| family.add(&[("pool", pool)], memory.used as f64));
        let help = "The budget of each pool; zero is used up at once.";
        let family = metrics.family("websocket_server_memory_limit_bytes", Gauge, help);
        pools.iter().for_each(|(pool, memory)| family.add(&[("pool", pool)], memory.limit as f64));
    }

    fn add_cluster(&self, metrics: &mut Metrics) {
        let cluster = self.cluster.as_ref();
        let mut one = |name, kind, help, value: fn(&ClusterHealth) -> Option<f64>| {
            let family = metrics.family(name, kind, help);
            if let Some(value) = cluster.and_then(value) {
                family.add(&[], value);
            }
        };
        let help = "1 while the engine of the cluster can be reached.";
        one("websocket_cluster_connected", Gauge, help, |it| Some(f64::from(u8::from(it.is_connected))));
        let help = "Live nodes, this one included.";
        one("websocket_cluster_nodes", Gauge, help, |it| Some(it.peers.len() as f64 + 1.0));
        let help = "Seconds that the engine took to return this node's last sign of life.";
        one("websocket_cluster_lag_seconds", Gauge, help, |it| Some(it.lag?.as_secs_f64()));
        let help = "Links to the engine after the first.";
        one("websocket_cluster_reconnects_total", Counter, help, |it| Some(it.counts.reconnects as f64));
        let help = "Other nodes that were declared dead.";
        one("websocket_cluster_node_deaths_total", Counter, help, |it| Some(it.counts.deaths as f64));
        let help = "Messages to and from other nodes, by outcome.";
        let family = metrics.family("websocket_cluster_messages_total", Counter, help);
        for (outcome, count) in cluster.into_iter().flat_map(|it| messages(it)) {
            family.add(&[("outcome", outcome)], count as f64);
        }
        let help = "Packets of the cluster, by outcome.";
        let family = metrics.family("websocket_cluster_packets_total", Counter, help);
        if let Some(ClusterHealth { counts, .. }) = cluster {
            family.add(&[("outcome", "published")], counts.packets as f64);
            family.add(&[("outcome", "rejected")], counts.rejected as f64);
        }
    }
}

/// Outcomes of a cluster's messages.
fn messages(cluster: &ClusterHealth) -> [(&'static str, u64); 8] {
    let counts = &cluster.counts;
    [
        ("published", counts.published),
        ("not_needed", counts.not_needed),
        ("refused", counts.refused),
        ("unsure", counts.unsure),
        ("received", counts.received),
        ("lost", counts.lost),
        ("recovered", counts.recovered),
        ("duplicate", counts.duplicates),
    ]
}

/// A code or a status as a label.
fn code(code: Option<u16>) -> String {
    code.map_or_else(|| "other".to_owned(), |code| code.to_string())
}

/// Metrics with a sample for each endpoint.
struct Each<'s> {
    stats: &'s Stats,
    metrics: &'s mut Metrics,
}

impl Each<'_> {
    fn family(
        &mut self,
        name: &'static str,
        kind: MetricKind,
        help: &'static str,
        add: impl Fn(&mut Family, &EndpointStats),
    ) {
        let family = self.metrics.family(name, kind, help);
        self.stats.endpoints.iter().for_each(|endpoint| add(family, endpoint));
    }

    fn value(
        &mut self,
        name: &'static str,
        kind: MetricKind,
        help: &'static str,
        value: impl Fn(&EndpointStats) -> u64,
    ) {
        self.family(name, kind, help, |family, it| family.add(&[("endpoint", &it.path)], value(it) as f64));
    }

    fn durations(&mut self, name: &'static str, help: &'static str, durations: impl Fn(&EndpointStats) -> &Durations) {
        self.family(name, Histogram, help, |family, it| {
            family.add_durations(&[("endpoint", &it.path)], durations(it));
        });
    }
}
