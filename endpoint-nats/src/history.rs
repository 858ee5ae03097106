//! Histories in one stream of JetStream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use bytes::Bytes;
use endpoint_runtime::BoxError;
use endpoint_runtime::cluster::{HistoryEntry, Keep};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::names::Names;
use crate::{CONNECT_LIMIT, REPLY_LIMIT};

/// How many entries of each key a stream may keep. There are few steps, because each is a change of the stream that all
/// nodes share. The last one is the limit: all entries of a key are read to find the last ones.
const ENTRIES: [usize; 3] = [128, 1024, 10_000];

/// How long a stream may keep entries.
const AGES: [Duration; 3] = [days(1), days(30), LONGEST_AGE];

/// What fits into the numbers of JetStream.
const LONGEST_AGE: Duration = days(100 * 365);

/// Wait after a change of the stream before it is read again. Another node that has read the stream before the change
/// has written its own by then.
const SETTLING: Duration = Duration::from_millis(500);

/// Wait for a stream that another node is just creating: it is listed before it takes entries.
const CREATION: Duration = Duration::from_millis(100);

/// Number of entries that wait for their confirmation at once. The client admits more, and waits for ever if they are not
/// awaited.
const BATCH: usize = 256;

/// How often the stream is changed or tried again because of what other nodes do to it meanwhile.
const TRIES: usize = 5;

pub(crate) struct History {
    context: Context,
    names: Names,
    /// What the stream is known to keep.
    kept: Mutex<Option<Keep>>,
    /// Whether the stream has taken an entry of this link.
    works: AtomicBool,
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
        Self {
            context: ContextBuilder::new().timeout(REPLY_LIMIT).build(client),
            names,
            kept: Mutex::default(),
            works: AtomicBool::new(false),
        }
    }

    /// Appends entries in order; resolves when JetStream has stored them.
    pub(crate) async fn append(&self, entries: &[&HistoryEntry]) -> Result<(), BoxError> {
        let mut messages = Vec::with_capacity(entries.len());
        for HistoryEntry { key, keep, entry, .. } in entries {
            if let (Some(subject), false) = (self.names.history(key), keeps_nothing(*keep)) {
                self.cover(*keep).await?;
                messages.push((subject, entry.clone()));
            }
        }
        let mut messages = messages.into_iter();
        if !self.works.load(Ordering::Relaxed) {
            let Some((subject, entry)) = messages.next() else { return Ok(()) };
            self.append_first(subject, entry).await?;
            self.works.store(true, Ordering::Relaxed);
        }
        loop {
            let mut confirmations = Vec::new();
            for (subject, entry) in messages.by_ref().take(BATCH) {
                confirmations.push(self.context.publish(subject, entry).await?.into_future());
            }
            if confirmations.is_empty() {
                return Ok(());
            }
            try_join_all(confirmations).await?;
        }
    }

    /// Appends the first entry of this link. It is alone, because several could change their order if it is tried again.
    async fn append_first(&self, subject: String, entry: Bytes) -> Result<(), BoxError> {
        for _ in 1..TRIES {
            match self.context.publish(subject.clone(), entry.clone()).await?.await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == PublishErrorKind::StreamNotFound => sleep(CREATION).await,
                Err(error) => return Err(error.into()),
            }
        }
        self.context.publish(subject, entry).await?.await?;
        Ok(())
    }

    /// The entries of a key, oldest first.
    pub(crate) async fn read(&self, key: &str, keep: Keep) -> Result<Vec<Bytes>, BoxError> {
        let subject = self.names.history(key).ok_or("a history with a key of more than 2 KiB is not kept")?;
        if keeps_nothing(keep) {
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

    /// Makes sure that the stream is there and keeps at least this much. Other nodes may do the same at the same time, and
    /// JetStream has no change under a condition, so a change counts when it is still there a moment later.
    async fn cover(&self, keep: Keep) -> Result<(), BoxError> {
        let wanted = step(keep);
        let mut kept = self.kept.lock().await;
        if kept.is_some_and(|kept| covers(kept, wanted)) {
            return Ok(());
        }
        let name = self.names.stream();
        let mut reason = BoxError::from("other nodes change it all the time");
        for _ in 0..=TRIES {
            let config = match self.context.get_stream(&name).await {
                Ok(stream) => stream.cached_info().config.clone(),
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                        // if another node was faster, the next try finds its stream
                        if let Err(error) = self.context.create_stream(self.config(wanted)).await {
                            reason = error.into();
                        }
                        continue;
                    }
                    _ => return Err(error.into()),
                },
            };
            let known = limits(&config);
            if covers(known, wanted) {
                *kept = Some(known);
                return Ok(());
            }
            let grown = Keep { last: known.last.max(wanted.last), within: known.within.max(wanted.within) };
            if let Err(error) = self.context.update_stream(with_limits(config, grown)).await {
                reason = error.into();
            }
            sleep(SETTLING).await;
        }
        Err(format!("cannot prepare the stream {name}: {reason}").into())
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

fn keeps_nothing(keep: Keep) -> bool {
    keep.last == 0 || keep.within.is_zero()
}

/// What a stream has to keep for a history.
fn step(keep: Keep) -> Keep {
    let last = ENTRIES.into_iter().find(|entries| *entries >= keep.last).unwrap_or(ENTRIES[2]);
    Keep { last, within: AGES.into_iter().find(|age| *age >= keep.within).unwrap_or(LONGEST_AGE) }
}

fn covers(kept: Keep, wanted: Keep) -> bool {
    kept.last >= wanted.last && kept.within >= wanted.within
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
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
    let end = i128::try_from(within.min(LONGEST_AGE).as_nanos()).ok().and_then(|within| added.checked_add(within));
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
            Keep { last: 128, within: days(1) },
            Keep { last: 10_000, within: LONGEST_AGE },
            Keep { last: usize::MAX, within: Duration::MAX },
        ] {
            assert_eq!(limits(&with_limits(Config::default(), keep)), keep);
        }
    }

    #[test]
    fn streams_grow_in_few_steps() {
        let hour = Duration::from_secs(3600);
        assert_eq!(step(Keep { last: 1, within: hour }), Keep { last: 128, within: days(1) });
        assert_eq!(step(Keep { last: 129, within: days(1) }), Keep { last: 1024, within: days(1) });
        assert_eq!(step(Keep { last: usize::MAX, within: Duration::MAX }), Keep { last: 10_000, within: LONGEST_AGE });
    }
}
