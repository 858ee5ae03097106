//! The tasks of a node: connect, subscribe, publish, show signs of life, and begin again whenever the link is lost.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::backplane::{BackplaneLink, Inbound, Packet, Subject};
use super::engine_call::{Lost, within};
use super::envelope::{self, Beat, Entry};
use super::health::Counters;
use super::node::Node;
use super::outbox::Outbox;
use super::settings::WhileDown;
use super::subscriptions;
use crate::config::{
    CLUSTER_BEAT, CLUSTER_CHECK, CLUSTER_DEAD, CLUSTER_ENGINE_TIMEOUT, CLUSTER_FIRST_PAUSE, CLUSTER_LAST_WORDS,
    CLUSTER_LONGEST_PAUSE, CLUSTER_NEXT_ATTEMPT, CLUSTER_RETURN,
};
use crate::error::BoxError;

/// Keeps the node in the cluster until it is told to stop.
pub(super) async fn run(node: Arc<Node>) {
    let mut pause = CLUSTER_FIRST_PAUSE;
    let mut links = 0u64;
    while !node.stop.is_cancelled() {
        let ended = tokio::select! {
            biased;
            () = node.stop.cancelled() => break,
            connected = connect(&node) => match connected {
                Ok(link) => {
                    pause = CLUSTER_FIRST_PAUSE;
                    links += 1;
                    if links > 1 {
                        Counters::add(&node.counters.reconnects, 1);
                    }
                    serve(&node, &link).await
                }
                Err(error) => Some(error),
            },
        };
        let Some(error) = ended else { break };
        note_lost(&node, &*error);
        tokio::select! {
            biased;
            () = node.stop.cancelled() => break,
            () = wait_to_reconnect(&node, pause) => {}
        }
        pause = (pause * 2).min(CLUSTER_LONGEST_PAUSE);
    }
    node.link().link = None;
    node.requests.all_lost();
    Counters::add(&node.counters.unsure, node.outbox().clear());
}

/// Waits, and drops messages that have waited for the engine too long.
async fn wait_to_reconnect(node: &Node, pause: Duration) {
    // between half and the whole: nodes that lost the engine together do not come back together
    sleep(pause.mul_f64(0.5 + node.random_fraction() / 2.0)).await;
    let WhileDown::QueueFor(limit) = node.while_down else { return };
    let since = node.link().since;
    if since.unwrap_or(node.base).elapsed() >= limit {
        let mut outbox = node.outbox();
        let dropped = outbox.clear();
        // what is sent from now on is refused at once
        outbox.is_open = false;
        drop(outbox);
        Counters::add(&node.counters.unsure, dropped);
    }
}

/// Opens a link. What swallows the bytes of an attempt may have gone a moment later, so further attempts begin beside one
/// that takes long.
async fn open(node: &Arc<Node>) -> Result<Box<dyn BackplaneLink>, BoxError> {
    let mut attempts = JoinSet::new();
    loop {
        let (receiver, engine) = (Arc::downgrade(node), node.engine.clone());
        let inbound = Inbound::new(move |subject, packet| {
            if let Some(node) = receiver.upgrade() {
                node.receive(subject, packet);
            }
        });
        attempts.spawn(async move { within(engine.connect(inbound)).await });
        if let Ok(Some(opened)) = timeout(CLUSTER_NEXT_ATTEMPT, attempts.join_next()).await {
            return opened?;
        }
    }
}

async fn connect(node: &Arc<Node>) -> Result<Arc<dyn BackplaneLink>, BoxError> {
    let link: Arc<dyn BackplaneLink> = open(node).await?.into();
    let buckets = node.local().counts.set();
    let own = [Subject::Nodes, Subject::Node(node.id)];
    within(link.subscribe(own.into_iter().chain(buckets.iter().map(Subject::Bucket)).collect())).await?;
    let now = Instant::now();
    let left = node.local().reconnected(buckets);
    node.forget(&left);
    node.peers().pardon(now);
    node.note_echo(now);
    node.lag.forget();
    {
        let mut state = node.link();
        (state.link, state.since) = (Some(link.clone()), Some(now));
    }
    node.note_wanted();
    node.outbox().is_open = true;
    let (engine, name) = (node.engine.name(), &*node.name);
    tracing::info!(engine, node = name, id = %node.id, "connected to the other nodes");
    Ok(link)
}

/// Serves a link until it is lost; `None` if the node ends.
async fn serve(node: &Arc<Node>, link: &Arc<dyn BackplaneLink>) -> Option<BoxError> {
    node.send_control(Subject::Nodes, &Entry::Beat(node.beat(true, 0)));
    subscriptions::announce_all(node, link);
    node.sync_presence_of_all();
    let mut publishing = pin!(publish(node, link));
    let mut has_published = false;
    let lost = tokio::select! {
        biased;
        () = node.stop.cancelled() => None,
        error = link.closed() => Some(error),
        published = &mut publishing => {
            has_published = true;
            published.err()
        }
        Err(error) = subscriptions::keep(node, link) => Some(error),
        Err(error) = show_life(node) => Some(error),
    };
    if lost.is_none() {
        // the last words of sessions are under way
        if !has_published {
            let _ = timeout(CLUSTER_LAST_WORDS, publishing).await;
        }
        let bye = Outbox::single(node.id, node.key.as_ref(), Subject::Nodes, &envelope::encode(&Entry::Bye));
        let _ = timeout(CLUSTER_LAST_WORDS, link.publish(vec![Packet::new(Subject::Nodes, bye)])).await;
    }
    lost
}

/// Before messages are published that have waited for the engine: waits until the other nodes have links again as well,
/// and so can receive them.
async fn wait_for_others(node: &Node, link: &Arc<dyn BackplaneLink>) -> Result<(), BoxError> {
    let beat = envelope::encode(&Entry::Beat(node.beat(true, 0)));
    let packet = Outbox::single(node.id, node.key.as_ref(), Subject::Nodes, &beat);
    within(link.publish(vec![Packet::new(Subject::Nodes, packet)])).await?;
    let back = async {
        while !node.peers().are_back() {
            sleep(CLUSTER_CHECK / 5).await;
        }
    };
    // one that has died must not hold them back, nor a node that leaves
    let _ = timeout(CLUSTER_RETURN, node.stop.run_until_cancelled(back)).await;
    Ok(())
}

/// Publishes what is in the outbox, as long as the link lives; until the outbox is empty if the node leaves. What comes while
/// the engine takes a batch is the next.
async fn publish(node: &Node, link: &Arc<dyn BackplaneLink>) -> Result<(), BoxError> {
    if node.outbox().has_messages() {
        wait_for_others(node, link).await?;
    }
    loop {
        let batch = node.outbox().take();
        if batch.packets.is_empty() {
            if node.stop.is_cancelled() {
                return Ok(());
            }
            node.stop.run_until_cancelled(node.filled.notified()).await;
            continue;
        }
        let packets = batch.packets.len() as u64;
        let under_way = UnderWay { counters: &node.counters, messages: batch.messages };
        within(link.publish(batch.packets)).await?;
        under_way.are_published();
        Counters::add(&node.counters.packets, packets);
    }
}

/// Messages that are being published. They are unsure if this is dropped first: the call has failed, or has been given up
/// because the link was lost.
struct UnderWay<'a> {
    counters: &'a Counters,
    messages: u64,
}

impl UnderWay<'_> {
    fn are_published(mut self) {
        Counters::add(&self.counters.published, std::mem::take(&mut self.messages));
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        Counters::add(&self.counters.unsure, self.messages);
    }
}

/// Shows signs of life, declares silent nodes dead, and checks that the engine still delivers.
async fn show_life(node: &Node) -> Lost {
    let mut checks = interval(CLUSTER_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_beat = Instant::now();
    loop {
        checks.tick().await;
        let now = Instant::now();
        if now >= next_beat {
            next_beat = now + CLUSTER_BEAT;
            node.lag.note_sent(node.base.elapsed());
            node.send_control(Subject::Nodes, &Entry::Beat(node.beat(false, 0)));
            node.send_marks();
        }
        if node.since_echo(now) >= CLUSTER_ENGINE_TIMEOUT {
            return Err("it delivers nothing any more".into());
        }
        let silent = node.peers().silent(now, CLUSTER_DEAD);
        silent.into_iter().for_each(|peer| node.lose(peer, true));
        node.note_wanted();
    }
}

fn note_lost(node: &Node, error: &(dyn std::error::Error + 'static)) {
    let text: Arc<str> = error.to_string().into();
    let was_connected = {
        let mut state = node.link();
        let was_connected = state.link.take().is_some();
        // once, and not for each attempt
        let is_news = was_connected || state.last_error.is_none();
        if was_connected || state.since.is_none() {
            state.since = Some(Instant::now());
        }
        state.last_error = Some(text.clone());
        if is_news {
            let (engine, name) = (node.engine.name(), &*node.name);
            tracing::warn!(
                engine,
                node = name,
                error = &*text,
                "other nodes cannot be reached; local sessions are served"
            );
        }
        was_connected
    };
    if was_connected {
        node.open_outbox_while_down();
        node.requests.all_lost();
        node.local().disconnected();
    }
}

impl Node {
    pub(super) fn beat(&self, is_new: bool, request: u64) -> Beat {
        let mut local = self.local();
        local.beats += 1;
        Beat { number: local.beats, name: self.name.to_string(), interest: local.announced, is_new, request }
    }

    /// The engine has returned this node's own sign of life.
    pub(super) fn note_echo(&self, now: Instant) {
        let millis = u64::try_from(now.duration_since(self.base).as_millis()).unwrap_or(u64::MAX);
        self.echo.store(millis, Ordering::Relaxed);
    }

    fn since_echo(&self, now: Instant) -> Duration {
        let echo = self.base + Duration::from_millis(self.echo.load(Ordering::Relaxed));
        now.saturating_duration_since(echo)
    }

    /// Marks what was published since the last marks, so that others notice a loss at the end as well.
    fn send_marks(&self) {
        let marks = self.outbox().take_marks();
        for (subject, seq) in marks {
            self.send_control(subject, &Entry::Mark { seq, request: 0 });
        }
    }
}
