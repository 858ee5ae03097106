//! An engine in memory, for tests: its links can be cut, slowed, made lossy and closed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::backplane::{Backplane, BackplaneFuture, BackplaneLink, Inbound, Keep, Packet, Subject};
use crate::error::BoxError;

/// Packets that wait for one link. A link that is further behind is closed, as Redis and NATS do.
const MAX_BEHIND: usize = 64 << 10;

/// An engine in memory. It connects containers of one process, for tests and examples. A clone is the same engine.
///
/// Everything but the transport is as with Redis or NATS. It keeps history.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Hub>>);

#[derive(Default)]
struct Hub {
    next: u64,
    /// In order, so that tests replay.
    links: BTreeMap<u64, Attached>,
    histories: HashMap<Arc<str>, VecDeque<(Instant, Bytes)>>,
    is_stopped: bool,
}

/// A link, as the engine sees it.
struct Attached {
    subjects: HashSet<Subject>,
    queue: mpsc::Sender<(Instant, Subject, Bytes)>,
    closes: watch::Sender<Option<&'static str>>,
    port: Arc<Mutex<Faults>>,
}

/// What goes wrong between one node and the engine.
#[derive(Debug)]
struct Faults {
    is_cut: watch::Sender<bool>,
    delay: Duration,
    /// Packets lost of 1,000.
    loss: u32,
    random: u64,
}

impl Faults {
    /// Whether the next packet is lost.
    fn loses(&mut self) -> bool {
        if *self.is_cut.borrow() {
            return true;
        }
        // xorshift: the same faults for the same seed
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1000 < u64::from(self.loss)
    }
}

impl Memory {
    /// Creates an engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// A way of one node to the engine, with faults of its own.
    pub fn port(&self) -> MemoryPort {
        let faults = Faults { is_cut: watch::Sender::new(false), delay: Duration::ZERO, loss: 0, random: 1 };
        MemoryPort { engine: self.clone(), faults: Arc::new(Mutex::new(faults)) }
    }

    /// Stops the engine: every link is lost, and none can be opened. History is kept.
    pub fn stop(&self) {
        let mut hub = self.lock();
        hub.is_stopped = true;
        for link in std::mem::take(&mut hub.links).into_values() {
            link.closes.send_replace(Some("the engine was stopped"));
        }
    }

    /// Starts the engine again.
    pub fn start(&self) {
        self.lock().is_stopped = false;
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        lock(&self.0)
    }

    fn publish(&self, packets: Vec<Packet>) {
        let mut hub = self.lock();
        let now = Instant::now();
        for Packet { subject, payload, history } in packets {
            for entry in history {
                let kept = hub.histories.entry(entry.key).or_default();
                kept.push_back((now, entry.entry));
                while kept.len() > entry.keep.last {
                    kept.pop_front();
                }
            }
            let mut behind = Vec::new();
            for (id, link) in hub.links.iter().filter(|(_, link)| link.subjects.contains(&subject)) {
                let mut faults = lock(&link.port);
                if faults.loses() {
                    continue;
                }
                let due = now + faults.delay;
                drop(faults);
                if link.queue.try_send((due, subject, payload.clone())).is_err() {
                    behind.push(*id);
                }
            }
            for id in behind {
                if let Some(link) = hub.links.remove(&id) {
                    link.closes.send_replace(Some("the node is too far behind"));
                }
            }
        }
    }
}

/// The way of one node to a [`Memory`] engine. A clone is the same way.
#[derive(Clone)]
pub struct MemoryPort {
    engine: Memory,
    faults: Arc<Mutex<Faults>>,
}

impl MemoryPort {
    /// Cuts the way: nothing arrives in either direction, and calls to the engine hang, as behind a broken cable.
    pub fn cut(&self) {
        lock(&self.faults).is_cut.send_replace(true);
    }

    /// Mends the way, with all its faults.
    pub fn heal(&self) {
        let mut faults = lock(&self.faults);
        faults.is_cut.send_replace(false);
        (faults.delay, faults.loss) = (Duration::ZERO, 0);
    }

    /// Delays each packet to this node, in order.
    pub fn slow(&self, delay: Duration) {
        lock(&self.faults).delay = delay;
    }

    /// Loses so many of 1,000 packets to this node, chosen by `seed`.
    pub fn lose(&self, per_mille: u32, seed: u64) {
        let mut faults = lock(&self.faults);
        // xorshift stands still at zero
        (faults.loss, faults.random) = (per_mille, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    }

    /// Closes the links of this node. It may connect again.
    pub fn disconnect(&self) {
        let mut hub = self.engine.lock();
        hub.links.retain(|_, link| {
            let is_ours = Arc::ptr_eq(&link.port, &self.faults);
            if is_ours {
                link.closes.send_replace(Some("the link was closed"));
            }
            !is_ours
        });
    }
}

impl Backplane for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn connect(&self, inbound: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>> {
        let port = self.port();
        Box::pin(async move { port.connect(inbound).await })
    }
}

impl Backplane for MemoryPort {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn connect(&self, inbound: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>> {
        Box::pin(async move {
            self.pass().await;
            let mut hub = self.engine.lock();
            if hub.is_stopped {
                return Err("the engine is stopped".into());
            }
            let (queue, mut packets) = mpsc::channel::<(Instant, Subject, Bytes)>(MAX_BEHIND);
            let (closes, closed) = watch::channel(None);
            hub.next += 1;
            let id = hub.next;
            let port = self.faults.clone();
            hub.links.insert(id, Attached { subjects: HashSet::new(), queue, closes, port });
            drop(hub);
            // it ends when the link is dropped: the engine then drops the sender
            tokio::spawn(async move {
                while let Some((due, subject, payload)) = packets.recv().await {
                    if due > Instant::now() {
                        sleep_until(due).await;
                    }
                    inbound.deliver(subject, payload);
                }
            });
            let link: Box<dyn BackplaneLink> = Box::new(MemoryLink { port: self.clone(), id, closed });
            Ok(link)
        })
    }
}

impl MemoryPort {
    /// Waits while the way is cut.
    async fn pass(&self) {
        let mut is_cut = lock(&self.faults).is_cut.subscribe();
        // the sender is a field of the port
        let _ = is_cut.wait_for(|is_cut| !is_cut).await;
    }
}

/// A link to a [`Memory`] engine.
struct MemoryLink {
    port: MemoryPort,
    id: u64,
    closed: watch::Receiver<Option<&'static str>>,
}

impl MemoryLink {
    fn change(&self, change: impl FnOnce(&mut HashSet<Subject>)) -> Result<(), BoxError> {
        let mut hub = self.port.engine.lock();
        let link = hub.links.get_mut(&self.id).ok_or("the link is lost")?;
        change(&mut link.subjects);
        Ok(())
    }
}

impl BackplaneLink for MemoryLink {
    fn publish(&self, packets: Vec<Packet>) -> BackplaneFuture<'_, ()> {
        Box::pin(async move {
            self.port.pass().await;
            self.change(|_| {})?;
            self.port.engine.publish(packets);
            Ok(())
        })
    }

    fn subscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(async move {
            self.port.pass().await;
            self.change(|subscribed| subscribed.extend(subjects))
        })
    }

    fn unsubscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(async move {
            self.port.pass().await;
            self.change(|subscribed| subscribed.retain(|subject| !subjects.contains(subject)))
        })
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = BoxError> + Send + '_>> {
        let mut closed = self.closed.clone();
        Box::pin(async move {
            match closed.wait_for(Option::is_some).await {
                Ok(reason) => reason.unwrap_or("closed").into(),
                Err(_) => "the link is lost".into(),
            }
        })
    }

    fn history(&self, key: &str, keep: Keep) -> BackplaneFuture<'_, Vec<Bytes>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.port.pass().await;
            let hub = self.port.engine.lock();
            let now = Instant::now();
            let kept = hub.histories.get(&*key).into_iter().flatten();
            let recent = kept.filter(|(at, _)| now.duration_since(*at) <= keep.within);
            let entries: Vec<_> = recent.map(|(_, entry)| entry.clone()).collect();
            Ok(entries[entries.len().saturating_sub(keep.last)..].to_vec())
        })
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.port.engine.lock().links.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("links", &self.lock().links.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPort").field("faults", &*lock(&self.faults)).finish_non_exhaustive()
    }
}
