//! Questions to other nodes that wait for answers. Pure, but for waking those who wait.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::backplane::NodeId;

/// Bytes of all answers to one request. A node that answers more counts as missing.
const MAX_ANSWERS: usize = 64 << 20;

/// The requests of one node.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    last: u64,
    requests: HashMap<u64, Request>,
}

#[derive(Debug)]
struct Request {
    /// Nodes that have not answered.
    missing: Vec<NodeId>,
    /// Nodes that died, or answered too much.
    failed: Vec<NodeId>,
    parts: HashMap<NodeId, BytesMut>,
    got: Vec<(NodeId, Bytes)>,
    bytes: usize,
    done: Option<oneshot::Sender<()>>,
}

/// What came, and who is missing.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) got: Vec<(NodeId, Bytes)>,
    pub(crate) missing: Vec<NodeId>,
}

/// A request that waits; dropping it forgets the request.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    requests: &'a Requests,
    pub(crate) id: u64,
    done: oneshot::Receiver<()>,
}

impl Requests {
    /// Begins a request that these nodes are to answer.
    pub(crate) fn begin(&self, nodes: Vec<NodeId>) -> Wait<'_> {
        let (sender, done) = oneshot::channel();
        let mut pending = self.lock();
        pending.last += 1;
        let id = pending.last;
        let mut request = Request {
            missing: nodes,
            failed: Vec::new(),
            parts: HashMap::new(),
            got: Vec::new(),
            bytes: 0,
            done: Some(sender),
        };
        request.end_if_complete();
        pending.requests.insert(id, request);
        Wait { requests: self, id, done }
    }

    /// Takes a part of an answer. Answers that nobody waits for any more are ignored.
    pub(crate) fn answer(&self, node: NodeId, id: u64, last: bool, body: &Bytes) {
        let mut pending = self.lock();
        let Some(request) = pending.requests.get_mut(&id) else { return };
        let Some(at) = request.missing.iter().position(|missing| *missing == node) else { return };
        request.bytes += body.len();
        if request.bytes > MAX_ANSWERS {
            request.failed.push(request.missing.swap_remove(at));
            let parts = request.parts.remove(&node).map_or(0, |parts| parts.len());
            request.bytes -= parts + body.len();
        } else if last {
            let whole = match request.parts.remove(&node) {
                Some(mut parts) => {
                    parts.extend_from_slice(body);
                    parts.freeze()
                }
                None => body.clone(),
            };
            request.missing.swap_remove(at);
            request.got.push((node, whole));
        } else {
            request.parts.entry(node).or_default().extend_from_slice(body);
        }
        request.end_if_complete();
    }

    /// A node will not answer any more.
    pub(crate) fn lost(&self, node: NodeId) {
        for request in self.lock().requests.values_mut() {
            if let Some(at) = request.missing.iter().position(|missing| *missing == node) {
                request.failed.push(request.missing.swap_remove(at));
                request.end_if_complete();
            }
        }
    }

    /// Nobody will answer any more: the link to the engine is lost.
    pub(crate) fn all_lost(&self) {
        for request in self.lock().requests.values_mut() {
            let missing = std::mem::take(&mut request.missing);
            request.failed.extend(missing);
            request.end_if_complete();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    fn end_if_complete(&mut self) {
        if self.missing.is_empty() {
            if let Some(done) = self.done.take() {
                // the waiting task may be gone
                let _ = done.send(());
            }
        }
    }
}

impl Wait<'_> {
    /// Resolves when every node has answered or is lost.
    pub(crate) async fn complete(&mut self) {
        let _ = (&mut self.done).await;
    }

    /// What has come so far.
    pub(crate) fn gathered(self) -> Gathered {
        let Some(request) = self.requests.lock().requests.remove(&self.id) else { return Gathered::default() };
        let missing = request.missing.into_iter().chain(request.failed).collect();
        Gathered { got: request.got, missing }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.requests.lock().requests.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId::from_bits(1);
    const B: NodeId = NodeId::from_bits(2);
    const C: NodeId = NodeId::from_bits(3);

    #[tokio::test]
    async fn request_ends_when_all_have_answered_or_are_lost() {
        let requests = Requests::default();
        let mut wait = requests.begin(vec![A, B, C]);
        requests.answer(A, wait.id, false, &Bytes::from_static(b"he"));
        requests.answer(B, wait.id, true, &Bytes::from_static(b"all"));
        requests.answer(A, wait.id, true, &Bytes::from_static(b"llo"));
        // a second answer, an answer of a stranger, an answer to another request
        requests.answer(A, wait.id, true, &Bytes::from_static(b"again"));
        requests.answer(NodeId::from_bits(9), wait.id, true, &Bytes::new());
        requests.answer(C, wait.id + 1, true, &Bytes::new());
        requests.lost(C);
        wait.complete().await;
        let Gathered { mut got, missing } = wait.gathered();
        got.sort();
        assert_eq!(got, [(A, Bytes::from_static(b"hello")), (B, Bytes::from_static(b"all"))]);
        assert_eq!(missing, [C]);
        assert!(requests.lock().requests.is_empty());
    }

    #[tokio::test]
    async fn request_to_nobody_ends_at_once_and_a_dropped_one_is_forgotten() {
        let requests = Requests::default();
        let mut wait = requests.begin(vec![]);
        wait.complete().await;
        drop(wait);
        drop(requests.begin(vec![A]));
        assert!(requests.lock().requests.is_empty());
    }

    #[tokio::test]
    async fn too_large_an_answer_is_missing() {
        let requests = Requests::default();
        let mut wait = requests.begin(vec![A, B]);
        let part = Bytes::from(vec![0; MAX_ANSWERS / 2 + 1]);
        requests.answer(A, wait.id, false, &part);
        requests.answer(A, wait.id, true, &part);
        // which takes no space from the others
        requests.answer(B, wait.id, true, &part);
        wait.complete().await;
        let gathered = wait.gathered();
        assert_eq!((gathered.got.len(), gathered.missing), (1, vec![A]));
    }

    #[tokio::test]
    async fn lost_link_ends_all_requests() {
        let requests = Requests::default();
        let mut wait = requests.begin(vec![A, B]);
        requests.answer(A, wait.id, true, &Bytes::new());
        requests.all_lost();
        wait.complete().await;
        let gathered = wait.gathered();
        assert_eq!((gathered.got.len(), gathered.missing), (1, vec![B]));
    }
}
