//! A link: two connections to each server, one to publish and one to receive.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use endpoint_runtime::BoxError;
use endpoint_runtime::cluster::{BackplaneFuture, BackplaneLink, HistoryEntry, Inbound, Keep, Packet, Subject};
use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, Pipeline, PushInfo, PushKind, Value};
use tokio::task::AbortHandle;

use crate::loss::Loss;
use crate::names::Names;
use crate::open;
use crate::slots::SlotMap;

/// How often both connections are tried. A network that drops packets silently closes no connection.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Longest time that a stream is kept: Redis refuses a time that does not fit into its clock.
const LONGEST_EXPIRY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The field of a stream's entry that has its bytes.
const FIELD: &str = "e";

pub(crate) struct Link {
    names: Names,
    servers: Vec<Connections>,
    /// Which of `servers` has a channel or key, in a Redis Cluster.
    map: Option<SlotMap>,
    receiver: Receiver,
    pings: AbortHandle,
}

/// The connections to one server.
#[derive(Clone)]
struct Connections {
    publisher: MultiplexedConnection,
    subscriber: MultiplexedConnection,
}

/// Takes what arrives through all subscribing connections of a link.
#[derive(Clone)]
struct Receiver {
    names: Names,
    inbound: Inbound,
    /// The confirmed subscriptions. The server may end one on its own, when a slot moves.
    subscribed: Arc<Mutex<HashSet<Subject>>>,
    loss: Loss,
}

impl Link {
    pub(crate) async fn open(
        info: &ConnectionInfo,
        addresses: Vec<ConnectionAddr>,
        map: Option<SlotMap>,
        names: Names,
        inbound: Inbound,
    ) -> Result<Self, BoxError> {
        let loss = Loss::new();
        let receiver = Receiver { names: names.clone(), inbound, subscribed: Arc::default(), loss };
        let servers = try_join_all(addresses.into_iter().map(|address| async {
            let place: Arc<str> = address.to_string().into();
            let receive = |receiver: Receiver, place: Arc<str>| move |push| receiver.take(push, &place);
            let opened = tokio::try_join!(
                open(info, address.clone(), receive(receiver.clone(), place.clone())),
                open(info, address, receive(receiver.clone(), place.clone())),
            );
            let (publisher, subscriber) =
                opened.map_err(|error| format!("cannot connect to Redis at {place}: {error}"))?;
            Ok::<_, BoxError>(Connections { publisher, subscriber })
        }))
        .await?;
        let pings = tokio::spawn(keep_trying(servers.clone(), receiver.loss.clone())).abort_handle();
        Ok(Self { names, servers, map, receiver, pings })
    }

    /// The index of the server that has a channel or key.
    fn owner(&self, name: &str) -> usize {
        self.map.as_ref().map_or(0, |map| map.owner(name))
    }

    fn batches(&self) -> Vec<Pipeline> {
        self.servers.iter().map(|_| Pipeline::new()).collect()
    }

    async fn publish_in_order(&self, packets: Vec<Packet>) -> Result<(), BoxError> {
        let command = if self.map.is_some() { "SPUBLISH" } else { "PUBLISH" };
        let mut batches = self.batches();
        if self.map.is_some() {
            // an entry may be on another server than the channel, so it has to be there before the packet leaves
            for entry in packets.iter().flat_map(|packet| &packet.history) {
                self.append(&mut batches, entry);
            }
            self.run(std::mem::replace(&mut batches, self.batches()), Connections::publisher).await?;
        }
        for packet in &packets {
            if self.map.is_none() {
                packet.history.iter().for_each(|entry| self.append(&mut batches, entry));
            }
            let channel = self.names.channel(packet.subject);
            let batch = &mut batches[self.owner(&channel)];
            batch.cmd(command).arg(channel).arg(&packet.payload[..]);
        }
        self.run(batches, Connections::publisher).await
    }

    fn append(&self, batches: &mut [Pipeline], HistoryEntry { key, keep, entry, .. }: &HistoryEntry) {
        let within = milliseconds(keep.within.min(LONGEST_EXPIRY));
        if keep.last == 0 || within == 0 {
            return;
        }
        let key = self.names.history(key);
        let batch = &mut batches[self.owner(&key)];
        batch.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(keep.last).arg("*").arg(FIELD).arg(&entry[..]);
        batch.cmd("PEXPIRE").arg(&key).arg(within);
    }

    /// Sends one command for each subject. In a command with several, the client would take the first confirmation as
    /// that of all.
    async fn change(&self, command: &str, subjects: &[Subject]) -> Result<(), BoxError> {
        let command = if self.map.is_some() { format!("S{command}") } else { command.to_owned() };
        let mut batches = self.batches();
        for subject in subjects {
            let channel = self.names.channel(*subject);
            let batch = &mut batches[self.owner(&channel)];
            batch.cmd(&command).arg(channel);
        }
        self.run(batches, Connections::subscriber).await
    }

    /// Runs one pipeline on each server, and checks every reply.
    async fn run(
        &self,
        batches: Vec<Pipeline>,
        connection: fn(&Connections) -> MultiplexedConnection,
    ) -> Result<(), BoxError> {
        self.receiver.loss.check()?;
        let running = batches.into_iter().zip(&self.servers).filter(|(batch, _)| !batch.is_empty());
        let running = running.map(|(batch, server)| {
            let mut connection = connection(server);
            async move {
                for reply in connection.send_packed_commands(&batch, 0, batch.len()).await? {
                    reply.extract_error()?;
                }
                Ok::<(), redis::RedisError>(())
            }
        });
        let done = try_join_all(running).await;
        done.map(|_| ()).map_err(|error| self.lost(error))
    }

    /// Marks the link as lost because of a failed command.
    fn lost(&self, error: impl Into<BoxError>) -> BoxError {
        let error = error.into();
        self.receiver.loss.mark(error.to_string());
        error
    }

    async fn read(&self, key: &str, keep: Keep) -> Result<Vec<Bytes>, BoxError> {
        self.receiver.loss.check()?;
        if keep.last == 0 {
            return Ok(Vec::new());
        }
        let key = self.names.history(key);
        let mut connection = self.servers[self.owner(&key)].publisher();
        let mut batch = Pipeline::new();
        // by the server's clock, which also makes the ids of the entries
        batch.cmd("TIME");
        batch.cmd("XREVRANGE").arg(&key).arg("+").arg("-").arg("COUNT").arg(keep.last);
        let replies = connection.send_packed_commands(&batch, 0, 2).await.map_err(|error| self.lost(error))?;
        let replies: Vec<Value> = replies.into_iter().map(Value::extract_error).collect::<Result<_, _>>()?;
        let [time, entries] = <[Value; 2]>::try_from(replies).map_err(|_| "Redis sent too few replies")?;
        entries_within(&time, entries, keep.within).ok_or_else(|| "Redis sent a history that cannot be read".into())
    }
}

impl Connections {
    fn publisher(&self) -> MultiplexedConnection {
        self.publisher.clone()
    }

    fn subscriber(&self) -> MultiplexedConnection {
        self.subscriber.clone()
    }
}

impl Receiver {
    /// Takes push data of a connection; called in order by the task of that connection.
    fn take(&self, PushInfo { kind, data }: PushInfo, place: &str) {
        match (kind, <[Value; 2]>::try_from(data).ok()) {
            (
                PushKind::Message | PushKind::SMessage,
                Some([Value::BulkString(channel), Value::BulkString(payload)]),
            ) => {
                if let Some(subject) = self.names.subject(&channel) {
                    self.inbound.deliver(subject, payload.into());
                }
            }
            (PushKind::Unsubscribe | PushKind::SUnsubscribe, Some([Value::BulkString(channel), _])) => {
                let subject = self.names.subject(&channel);
                if subject.is_some_and(|subject| self.subscribed().contains(&subject)) {
                    self.loss.mark(format!(
                        "Redis at {place} has ended the subscription to {}",
                        String::from_utf8_lossy(&channel)
                    ));
                }
            }
            (PushKind::Disconnection, _) => self.loss.mark(format!("the connection to Redis at {place} has ended")),
            _ => {}
        }
    }

    fn subscribed(&self) -> std::sync::MutexGuard<'_, HashSet<Subject>> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackplaneLink for Link {
    fn publish(&self, packets: Vec<Packet>) -> BackplaneFuture<'_, ()> {
        Box::pin(self.publish_in_order(packets))
    }

    fn subscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(async move {
            self.change("SUBSCRIBE", &subjects).await?;
            self.receiver.subscribed().extend(subjects);
            Ok(())
        })
    }

    fn unsubscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(async move {
            self.receiver.subscribed().retain(|subject| !subjects.contains(subject));
            self.change("UNSUBSCRIBE", &subjects).await
        })
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = BoxError> + Send + '_>> {
        Box::pin(self.receiver.loss.reason())
    }

    fn history(&self, key: &str, keep: Keep) -> BackplaneFuture<'_, Vec<Bytes>> {
        let key = key.to_owned();
        Box::pin(async move { self.read(&key, keep).await })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // it has clones of the connections
        self.pings.abort();
    }
}

/// Marks the loss when a server does not answer any more.
async fn keep_trying(servers: Vec<Connections>, loss: Loss) {
    let mut ticks = tokio::time::interval(PING_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let connections = servers.iter().flat_map(|server| [server.publisher(), server.subscriber()]);
        let pings =
            connections.map(|mut connection| async move { redis::cmd("PING").exec_async(&mut connection).await });
        if let Err(error) = try_join_all(pings).await {
            return loss.mark(format!("Redis does not answer: {error}"));
        }
    }
}

/// The bytes of a reversed range of a stream, oldest first, without what is older than `within` at `time`.
fn entries_within(time: &Value, entries: Value, within: Duration) -> Option<Vec<Bytes>> {
    let Value::Array(time) = time else { return None };
    let [Value::BulkString(seconds), Value::BulkString(microseconds)] = time.as_slice() else { return None };
    let now = number(seconds)?.checked_mul(1000)?.checked_add(number(microseconds)? / 1000)?;
    let oldest = now.saturating_sub(milliseconds(within));
    let Value::Array(entries) = entries else { return None };
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        let Value::Array(entry) = entry else { return None };
        let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(entry).ok()? else { return None };
        let added = number(id.split(|byte| *byte == b'-').next()?)?;
        if added < oldest {
            break;
        }
        let [_, Value::BulkString(bytes)] = <[Value; 2]>::try_from(fields).ok()? else { return None };
        kept.push(bytes.into());
    }
    kept.reverse();
    Some(kept)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
