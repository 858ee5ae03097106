//! Statistics and health as JSON. The values are few and of simple types, so this needs no serializer and no feature.

use std::fmt::Write;
use std::time::Duration;

use super::stats::{EndpointStats, Pool, Stats};
use crate::cluster::{ClusterHealth, Health, HealthStatus};
use crate::observe::histogram::Durations;
use crate::observe::tally::Traffic;

impl Stats {
    /// The statistics as a JSON object. Durations are in seconds. Members may be added in later versions.
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object(|json| {
            json.number("uptime_seconds", self.uptime.as_secs_f64());
            json.value("is_ready", self.is_ready);
            json.value("sessions", self.sessions);
            json.array("endpoints", &self.endpoints, |json, it| json.object(|json| endpoint(json, it)));
            json.member("connections", |json| json.counts(&self.connections.named()));
            json.array("handshakes", &self.handshakes, |json, it| {
                json.object(|json| {
                    json.optional("status", it.status);
                    json.value("count", it.count);
                });
            });
            json.durations("handshake_durations", &self.handshake_durations);
            json.pool("send_queues", self.send_queues);
            json.pool("unfinished_messages", self.unfinished_messages);
            json.pool("compression", self.compression);
            json.cluster(self.cluster.as_ref());
        });
        json.text
    }
}

/// The state of a container as a JSON object.
pub(super) fn health(health: &Health) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.string("status", if health.status == HealthStatus::Healthy { "healthy" } else { "degraded" });
        json.value("is_draining", health.is_draining);
        json.value("sessions", health.sessions);
        json.array("reasons", &health.reasons, |json, reason| json.quoted(reason));
        json.cluster(health.cluster.as_ref());
    });
    json.text
}

fn endpoint(json: &mut Json, endpoint: &EndpointStats) {
    let Traffic { messages_received, bytes_received, messages_sent, bytes_sent, messages_dropped } = endpoint.traffic;
    json.string("path", &endpoint.path);
    json.string("name", endpoint.name);
    json.value("sessions", endpoint.sessions);
    json.value("messages_received", messages_received);
    json.value("bytes_received", bytes_received);
    json.value("messages_sent", messages_sent);
    json.value("bytes_sent", bytes_sent);
    json.value("messages_dropped", messages_dropped);
    json.member("counts", |json| json.counts(&endpoint.counts.named()));
    json.member("errors", |json| json.counts(&endpoint.errors.named()));
    json.array("closes", &endpoint.closes, |json, close| {
        json.object(|json| {
            json.optional("code", close.code);
            json.string("initiator", close.initiator);
            json.value("count", close.count);
        });
    });
    json.durations("session_durations", &endpoint.session_durations);
    json.durations("round_trips", &endpoint.round_trips);
    json.durations("handler_durations", &endpoint.handler_durations);
}

/// A JSON text that is being written.
#[derive(Default)]
struct Json {
    text: String,
    /// Whether a member or an element precedes the next one.
    has_before: bool,
}

impl Json {
    fn separate(&mut self) {
        if std::mem::replace(&mut self.has_before, true) {
            self.text.push(',');
        }
    }

    /// Writes what is between two brackets.
    fn within(&mut self, [open, close]: [char; 2], write: impl FnOnce(&mut Self)) {
        self.text.push(open);
        self.has_before = false;
        write(self);
        self.text.push(close);
        self.has_before = true;
    }

    fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.within(['{', '}'], write);
    }

    fn member(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.separate();
        self.quoted(name);
        self.text.push(':');
        write(self);
    }

    fn array<T>(&mut self, name: &str, elements: &[T], write: impl Fn(&mut Self, &T)) {
        self.member(name, |json| {
            json.within(['[', ']'], |json| {
                for element in elements {
                    json.separate();
                    write(json, element);
                }
            });
        });
    }

    /// A member whose value is written as `Display` writes it: an integer or a Boolean.
    fn value(&mut self, name: &str, value: impl ToString) {
        self.member(name, |json| json.text.push_str(&value.to_string()));
    }

    fn optional(&mut self, name: &str, value: Option<u16>) {
        self.value(name, value.map_or_else(|| "null".to_owned(), |value| value.to_string()));
    }

    fn number(&mut self, name: &str, value: f64) {
        // JSON has neither infinity nor NaN
        self.value(name, if value.is_finite() { value.to_string() } else { "null".to_owned() });
    }

    fn string(&mut self, name: &str, value: &str) {
        self.member(name, |json| json.quoted(value));
    }

    /// A string (RFC 8259 §7).
    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for char in text.chars() {
            match char {
                '"' | '\\' => self.text.extend(['\\', char]),
                char if char.is_control() => {
                    // a string takes every write
                    let _ = write!(self.text, "\\u{:04x}", u32::from(char));
                }
                char => self.text.push(char),
            }
        }
        self.text.push('"');
    }

    fn counts(&mut self, counts: &[(&'static str, u64)]) {
        self.object(|json| counts.iter().for_each(|(name, count)| json.value(name, count)));
    }

    fn durations(&mut self, name: &str, durations: &Durations) {
        self.member(name, |json| {
            json.object(|json| {
                let seconds = |json: &mut Self, bound: &Duration| json.text.push_str(&bound.as_secs_f64().to_string());
                json.array("bounds_seconds", &durations.bounds, seconds);
                json.array("counts", &durations.counts, |json, count| json.text.push_str(&count.to_string()));
                json.value("count", durations.count);
                json.number("sum_seconds", durations.sum.as_secs_f64());
            });
        });
    }

    fn pool(&mut self, name: &str, pool: Pool) {
        self.member(name, |json| {
            json.object(|json| {
                json.value("used", pool.used);
                json.value("limit", pool.limit);
            });
        });
    }

    fn cluster(&mut self, cluster: Option<&ClusterHealth>) {
        let Some(cluster) = cluster else { return self.value("cluster", "null") };
        self.member("cluster", |json| {
            json.object(|json| {
                json.string("node", &cluster.node);
                json.string("engine", cluster.engine);
                json.value("is_connected", cluster.is_connected);
                match &cluster.last_error {
                    Some(error) => json.string("last_error", error),
                    None => json.value("last_error", "null"),
                }
                json.number("lag_seconds", cluster.lag.map_or(f64::NAN, |lag| lag.as_secs_f64()));
                json.array("peers", &cluster.peers, |json, (_, name)| json.quoted(name));
                json.member("counts", |json| json.counts(&cluster.counts.named()));
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[cfg(feature = "json")]
        #[test]
        fn any_text_can_be_read_back(text in any::<String>()) {
            let mut json = Json::default();
            json.quoted(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&json.text).unwrap(), text);
        }
    }

    #[test]
    fn members_and_elements_are_separated() {
        let mut json = Json::default();
        json.object(|json| {
            json.array("a", &[1, 2], |json, it| json.text.push_str(&it.to_string()));
            json.array("b", &[(); 0], |_, ()| ());
            json.member("c", |json| json.object(|_| ()));
            json.number("d", f64::NAN);
            json.string("e", "\u{1}\"");
        });
        assert_eq!(json.text, r#"{"a":[1,2],"b":[],"c":{},"d":null,"e":"\u0001\""}"#);
    }
}
