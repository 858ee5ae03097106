//! Histories in one stream of JetStream.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use bytes::Bytes;
use endpoint_runtime::BoxError;
use endpoint_runtime::cluster::{HistoryEntry, Keep};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use crate::names::Names;
use crate::{CONNECT_LIMIT, REPLY_LIMIT};

/// Most entries of one key: all of them are read to find the last ones.
const MOST_ENTRIES: usize = 10_000;

/// Bounds of the age: what JetStream admits, and what fits into its numbers.
const AGES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(100 * 365 * 24 * 3600));

/// Time within which JetStream recognises duplicates, which must not be longer than the age of the stream.
const DUPLICATES: Duration = Duration::from_secs(120);

/// Number of entries that wait for their confirmation at once. The client admits more, and waits for ever if they are not
/// awaited.
const BATCH: usize = 256;

/// How often the stream is read again because another node has changed it meanwhile.
const TRIES: usize = 5;

pub(crate) struct History {
    context: Context,
    names: Names,
    /// What the stream is known to keep.
    kept: Mutex<Option<Keep>>,
}

/// Whether the server has JetStream for this account. The client cannot read the answer of NATS 2.9, in which fields are
/// missing, so it is only checked for an error.
pub(crate) async fn is_available(client: &Client) -> bool {
    match tokio::time::timeout(CONNECT_LIMIT, client.request("$JS.API.INFO", Bytes::new())).await {
        Ok(Ok(answer)) => !answer.payload.windows(8).any(|text| text == b"\"error\":"),
        // nobody listens, or the user may not ask
        _ => false,
    }
}

impl History {
    pub(crate) fn new(client: Client, names: Names) -> Self {
        Self { context: ContextBuilder::new().timeout(REPLY_LIMIT).build(client), names, kept: Mutex::default() }
    }

    /// Appends entries in order; resolves when JetStream has stored them.
    pub(crate) async fn append(&self, entries: &[&HistoryEntry]) -> Result<(), BoxError> {
        for batch in entries.chunks(BATCH) {
            let mut confirmations = Vec::with_capacity(batch.len());
            for entry in batch {
                let Some(subject) = self.names.history(&entry.key) else { continue };
                if entry.keep.last == 0 || entry.keep.within.is_zero() {
                    continue;
                }
                self.cover(entry.keep).await?;
                confirmations.push(self.context.publish(subject, entry.entry.clone()).await?.into_future());
            }
            try_join_all(confirmations).await?;
        }
        Ok(())
    }

    /// The entries of a key, oldest first.
    pub(crate) async fn read(&self, key: &str, keep: Keep) -> Result<Vec<Bytes>, BoxError> {
        let subject = self.names.history(key).ok_or("a history with a key of more than 2 KiB is not kept")?;
        if keep.last == 0 || keep.within.is_zero() {
            return Ok(Vec::new());
        }
        self.cover(keep).await?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            filter_subject: subject,
            memory_storage: true,
            num_replicas: 1,
            // the server removes it if this node does not
            inactive_threshold: REPLY_LIMIT,
            ..pull::Config::default()
        };
        let stream = self.names.stream();
        let consumer = self.context.create_consumer_on_stream(config, &stream).await?;
        let about = consumer.cached_info();
        let mut kept = VecDeque::new();
        let pending = usize::try_from(about.num_pending).unwrap_or(usize::MAX);
        if pending > 0 {
            let mut messages = consumer.fetch().max_messages(pending).messages().await?;
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| error.to_string())?.message;
                let added = message.reply.as_deref().and_then(published);
                if !added.is_some_and(|added| is_within(added, keep.within, &about.created)) {
                    continue;
                }
                if kept.len() == keep.last {
                    kept.pop_front();
                }
                kept.push_back(message.payload);
            }
        }
        // otherwise the server does it, a little later
        let _ = self.context.delete_consumer_from_stream(&about.name, &stream).await;
        Ok(kept.into())
    }

    /// Makes sure that the stream is there and keeps at least this much. Other nodes do the same at the same time, so
    /// the limits only grow, and count when they have been read back.
    async fn cover(&self, keep: Keep) -> Result<(), BoxError> {
        let wanted = Keep {
            last: keep.last.min(MOST_ENTRIES).next_power_of_two().min(MOST_ENTRIES),
            within: keep.within.clamp(AGES.0, AGES.1),
        };
        let mut kept = self.kept.lock().await;
        let mut last_error = BoxError::from("other nodes change it all the time");
        for _ in 0..TRIES {
            if kept.is_some_and(|kept| kept.last >= wanted.last && kept.within >= wanted.within) {
                return Ok(());
            }
            let config = match self.context.get_stream(self.names.stream()).await {
                Ok(stream) => stream.cached_info().config.clone(),
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                        // an error means that another node was faster, or shows again when the stream is read
                        if let Err(error) = self.context.create_stream(self.config(wanted)).await {
                            last_error = error.into();
                        }
                        continue;
                    }
                    _ => return Err(error.into()),
                },
            };
            let known = limits(&config);
            *kept = Some(known);
            if known.last < wanted.last || known.within < wanted.within {
                let grown = Keep { last: known.last.max(wanted.last), within: known.within.max(wanted.within) };
                if let Err(error) = self.context.update_stream(with_limits(config, grown)).await {
                    last_error = error.into();
                }
                *kept = None;
            }
        }
        if kept.is_some_and(|kept| kept.last >= wanted.last && kept.within >= wanted.within) {
            return Ok(());
        }
        Err(format!("cannot prepare the stream {}: {last_error}", self.names.stream()).into())
    }

    fn config(&self, keep: Keep) -> Config {
        let config = Config {
            name: self.names.stream(),
            subjects: vec![self.names.histories()],
            discard: DiscardPolicy::Old,
            ..Config::default()
        };
        with_limits(config, keep)
    }
}

/// What a stream keeps of each key; other numbers than positive ones are no limit.
fn limits(config: &Config) -> Keep {
    Keep {
        last: usize::try_from(config.max_messages_per_subject).ok().filter(|last| *last > 0).unwrap_or(usize::MAX),
        within: if config.max_age.is_zero() { Duration::MAX } else { config.max_age },
    }
}

fn with_limits(mut config: Config, keep: Keep) -> Config {
    config.max_messages_per_subject = i64::try_from(keep.last).unwrap_or(-1);
    config.max_age = if keep.within == Duration::MAX { Duration::ZERO } else { keep.within };
    if config.duplicate_window.is_zero() || config.duplicate_window > keep.within {
        config.duplicate_window = DUPLICATES.min(keep.within);
    }
    config
}

/// When a message was stored, in nanoseconds since 1970, from the subject for its acknowledgement.
fn published(reply: &str) -> Option<i128> {
    let mut tokens = reply.strip_prefix("$JS.ACK.")?.split('.');
    // stream, consumer, deliveries, two sequence numbers, time, pending; newer servers put domain and account in front
    let time = if tokens.clone().count() > 7 { 7 } else { 5 };
    tokens.nth(time)?.parse().ok()
}

/// Whether a message is not older than `within` at a time of the server.
fn is_within(added: i128, within: Duration, now: &async_nats::datetime::DateTime) -> bool {
    // longer ones may not fit into the date
    let end = i128::try_from(within.min(AGES.1).as_nanos()).ok().and_then(|within| added.checked_add(within));
    end.and_then(|end| async_nats::datetime::from_nanos(end).ok()).is_none_or(|end| end >= *now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_from_both_forms_of_the_acknowledgement() {
        let time = Some(1_700_000_000_123_456_789);
        assert_eq!(published("$JS.ACK.shop_history.abc.1.5.1.1700000000123456789.0"), time);
        assert_eq!(published("$JS.ACK.hub.ACCOUNT.shop_history.abc.1.5.1.1700000000123456789.0"), time);
        assert_eq!(published("$JS.ACK.hub.ACCOUNT.shop_history.abc.1.5.1.1700000000123456789.0.token"), time);
        assert_eq!(published("$JS.ACK.shop_history"), None);
        assert_eq!(published("_INBOX.x"), None);
    }

    #[test]
    fn age_is_compared_with_the_clock_of_the_server() {
        let second = 1_000_000_000;
        let now = async_nats::datetime::from_nanos(100 * second).unwrap();
        assert!(is_within(90 * second, Duration::from_secs(10), &now));
        assert!(!is_within(90 * second - 1, Duration::from_secs(10), &now));
        assert!(is_within(90 * second, Duration::MAX, &now));
    }

    #[test]
    fn limits_are_read_back_from_a_configuration() {
        for keep in [
            Keep { last: 1, within: Duration::from_secs(1) },
            Keep { last: 10_000, within: AGES.1 },
            Keep { last: usize::MAX, within: Duration::MAX },
        ] {
            let config = with_limits(Config::default(), keep);
            assert_eq!(limits(&config), keep);
            assert!(config.duplicate_window <= keep.within);
        }
    }
}
