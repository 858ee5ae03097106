//! A link: one connection, and one task for each subscription.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, ServerAddr, Subscriber};
use bytes::Bytes;
use endpoint_runtime::BoxError;
use endpoint_runtime::cluster::{BackplaneFuture, BackplaneLink, Inbound, Keep, Packet, Subject};
use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::history::History;
use crate::loss::Loss;
use crate::names::Names;
use crate::{PING_INTERVAL, REPLY_LIMIT, open};

pub(crate) struct Link {
    client: Client,
    names: Names,
    inbound: Inbound,
    loss: Loss,
    echo: Arc<Echo>,
    subscriptions: Mutex<HashMap<Subject, Subscription>>,
    history: Option<History>,
    pings: AbortHandle,
}

/// The task that reads a subscription. It ends when this is dropped.
struct Subscription {
    stop: oneshot::Sender<()>,
    reader: JoinHandle<()>,
}

/// The way of a link to wait for the server: a message to itself. The client's own flush ends when the bytes are sent.
struct Echo {
    client: Client,
    subject: String,
    sent: AtomicU64,
    /// The number of the last message that came back.
    heard: watch::Receiver<u64>,
    loss: Loss,
    /// Dropped with the link, which ends the task that listens.
    _stop: oneshot::Sender<()>,
}

impl Link {
    pub(crate) async fn open(
        addresses: &[ServerAddr],
        jetstream: bool,
        names: Names,
        inbound: Inbound,
    ) -> Result<Self, BoxError> {
        let loss = Loss::new();
        let lost = loss.clone();
        let client = open(addresses, move |reason| lost.mark(reason)).await?;
        let echo = Arc::new(Echo::start(client.clone(), &names, loss.clone()).await?);
        // without it, a server that forbids the subject would be noticed at the first packet
        echo.round_trip().await?;
        let history = jetstream.then(|| History::new(client.clone(), names.clone()));
        let pings = tokio::spawn(keep_trying(echo.clone())).abort_handle();
        Ok(Self { client, names, inbound, loss, echo, subscriptions: Mutex::default(), history, pings })
    }

    async fn publish_in_order(&self, packets: Vec<Packet>) -> Result<(), BoxError> {
        self.loss.check()?;
        if let Some(history) = &self.history {
            let entries: Vec<_> = packets.iter().flat_map(|packet| &packet.history).collect();
            history.append(&entries).await?;
        }
        for packet in packets {
            self.client.publish(self.names.subject(packet.subject), packet.payload).await?;
        }
        self.echo.round_trip().await
    }

    async fn add(&self, subjects: Vec<Subject>) -> Result<(), BoxError> {
        self.loss.check()?;
        for subject in subjects {
            if self.subscriptions().contains_key(&subject) {
                continue;
            }
            let messages = self.client.subscribe(self.names.subject(subject)).await?;
            let (inbound, loss) = (self.inbound.clone(), self.loss.clone());
            let subscription = Subscription::start(messages, loss, move |payload| inbound.deliver(subject, payload));
            self.subscriptions().insert(subject, subscription);
        }
        self.echo.round_trip().await
    }

    async fn remove(&self, subjects: Vec<Subject>) -> Result<(), BoxError> {
        self.loss.check()?;
        for subject in subjects {
            let subscription = self.subscriptions().remove(&subject);
            if let Some(Subscription { stop, reader }) = subscription {
                drop(stop);
                let _ = reader.await;
            }
        }
        self.echo.round_trip().await
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashMap<Subject, Subscription>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Limits the time of a request, and marks the link as lost if it fails.
    async fn limited(&self, request: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
        let done =
            tokio::time::timeout(REPLY_LIMIT, request).await.unwrap_or_else(|_| Err("NATS does not answer".into()));
        if let Err(error) = &done {
            self.loss.mark(error.to_string());
        }
        done
    }
}

impl Subscription {
    fn start(messages: Subscriber, loss: Loss, deliver: impl FnMut(Bytes) + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let reader = tokio::spawn(read(messages, stopped, loss, deliver));
        Self { stop, reader }
    }
}

/// Reads a subscription until `stopped` resolves. The subscription ends with it.
async fn read(
    mut messages: Subscriber,
    mut stopped: oneshot::Receiver<()>,
    loss: Loss,
    mut deliver: impl FnMut(Bytes),
) {
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            message = messages.next() => match message {
                Some(message) => deliver(message.payload),
                None => return loss.mark("the connection to NATS has ended"),
            },
        }
    }
}

impl Echo {
    async fn start(client: Client, names: &Names, loss: Loss) -> Result<Self, BoxError> {
        // the last part of an inbox is unique
        let inbox = client.new_inbox();
        let subject = names.echo(inbox.rsplit('.').next().unwrap_or(&inbox));
        let messages = client.subscribe(subject.clone()).await?;
        let (hear, heard) = watch::channel(0);
        let Subscription { stop, .. } = Subscription::start(messages, loss.clone(), move |payload| {
            if let Ok(number) = <[u8; 8]>::try_from(&payload[..]) {
                // two requests at once may send their numbers in the other order
                hear.send_modify(|heard| *heard = (*heard).max(u64::from_be_bytes(number)));
            }
        });
        Ok(Self { client, subject, sent: AtomicU64::new(0), heard, loss, _stop: stop })
    }

    /// Resolves when the server has taken everything that was sent before.
    async fn round_trip(&self) -> Result<(), BoxError> {
        let number = self.sent.fetch_add(1, Ordering::AcqRel) + 1;
        self.client.publish(self.subject.clone(), number.to_be_bytes().to_vec().into()).await?;
        let mut heard = self.heard.clone();
        tokio::select! {
            // one that was sent later came back later, so it answers as well
            heard = heard.wait_for(|heard| *heard >= number) => match heard {
                Ok(_) => Ok(()),
                Err(_) => Err("the connection to NATS has ended".into()),
            },
            reason = self.loss.reason() => Err(reason),
        }
    }
}

/// Marks the loss when the server does not answer any more.
async fn keep_trying(echo: Arc<Echo>) {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        match tokio::time::timeout(REPLY_LIMIT, echo.round_trip()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return echo.loss.mark(error.to_string()),
            Err(_) => return echo.loss.mark("NATS does not answer"),
        }
    }
}

impl BackplaneLink for Link {
    fn publish(&self, packets: Vec<Packet>) -> BackplaneFuture<'_, ()> {
        Box::pin(self.limited(self.publish_in_order(packets)))
    }

    fn subscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(self.limited(self.add(subjects)))
    }

    fn unsubscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(self.limited(self.remove(subjects)))
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = BoxError> + Send + '_>> {
        Box::pin(self.loss.reason())
    }

    fn history(&self, key: &str, keep: Keep) -> BackplaneFuture<'_, Vec<Bytes>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.loss.check()?;
            let history = self.history.as_ref().ok_or(
                "this NATS server keeps no history: start it with JetStream, by `nats-server --jetstream` or a `jetstream` \
                 block in its configuration, and connect again",
            )?;
            let read = tokio::time::timeout(REPLY_LIMIT, history.read(&key, keep)).await;
            read.unwrap_or_else(|_| Err("JetStream does not answer".into()))
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // it has a clone of the connection
        self.pings.abort();
    }
}
