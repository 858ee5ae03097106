//! Questions of this node to others, and the wait for their answers.

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::answers::{Answers, ClusterReport};
use super::backplane::{NodeId, Subject};
use super::envelope::Entry;
use super::node::{Node, Published, read_sessions};
use super::requests::{Gathered, Wait};
use super::target::{Question, Scope, Target};

impl Node {
    /// Asks the other nodes about these sessions; resolves as soon as all have answered or have died.
    pub(crate) async fn ask(&self, target: Target, question: Question) -> Gathered {
        let subjects = target.subjects();
        let mut nodes: Vec<_> = {
            let peers = self.peers();
            // a node that has not introduced itself may have sessions as well
            subjects.iter().flat_map(|subject| peers.interested(*subject)).collect()
        };
        nodes.sort_unstable();
        nodes.dedup();
        self.gather(nodes, |id| {
            let request = Entry::Request { id, target: target.clone(), question: question.clone() };
            subjects.iter().for_each(|subject| self.send_control(*subject, &request));
        })
        .await
    }

    /// As [`ask`](Self::ask), with the answers read. Answers that cannot be read count as missing.
    pub(crate) async fn answers<T>(
        &self,
        target: Target,
        question: Question,
        here: T,
        read: impl Fn(Bytes) -> Option<T>,
    ) -> Answers<T> {
        let Gathered { got, mut missing } = self.ask(target, question).await;
        let mut answers = vec![(self.id, here)];
        for (node, body) in got {
            match read(body) {
                Some(answer) => answers.push((node, answer)),
                None => missing.push(node),
            }
        }
        Answers { got: answers, missing }
    }

    /// Asks one node.
    pub(super) async fn ask_node(&self, node: NodeId, question: Question) -> Option<Bytes> {
        let gathered = self.gather(vec![node], |id| {
            let request = Entry::Request { id, target: Target::from(Scope::Everyone), question: question.clone() };
            self.send_control(Subject::Node(node), &request);
        });
        gathered.await.got.pop().map(|(_, body)| body)
    }

    /// Sends something that these nodes answer, and waits for the answers.
    pub(super) async fn gather(&self, nodes: Vec<NodeId>, send: impl FnOnce(u64)) -> Gathered {
        let mut wait = self.begin(nodes, send);
        let _ = timeout(self.request_timeout, wait.complete()).await;
        wait.gathered()
    }

    /// Sends something that these nodes answer.
    fn begin(&self, nodes: Vec<NodeId>, send: impl FnOnce(u64)) -> Wait<'_> {
        let wait = self.requests.begin(nodes);
        if self.link().link.is_none() {
            // nobody hears the question, so nobody waits
            self.requests.all_lost();
        } else {
            send(wait.id);
        }
        wait
    }

    /// Finds out where a message has arrived.
    pub(crate) async fn confirm(&self, here: usize, published: &Published) -> ClusterReport {
        let others = self.peers().alive().len();
        let mut report = ClusterReport { here, elsewhere: 0, nodes: 1 + others, of: 1 + others, unsure: Vec::new() };
        match published {
            Published::NotNeeded => {}
            Published::Refused(_) => {
                report.unsure = self.peers().alive();
            }
            Published::Queued(tickets) => {
                let end = Instant::now() + self.request_timeout;
                let ask = |(subject, seq): &(Subject, u64)| {
                    let nodes = self.peers().interested(*subject);
                    self.begin(nodes, |request| self.send_control(*subject, &Entry::Mark { seq: *seq, request }))
                };
                let waits: Vec<_> = tickets.iter().map(ask).collect();
                for mut wait in waits {
                    let _ = timeout_at(end, wait.complete()).await;
                    let gathered = wait.gathered();
                    report.unsure.extend(gathered.missing);
                    for (node, body) in gathered.got {
                        match read_sessions(&body) {
                            Some(sessions) => report.elsewhere += sessions,
                            None => report.unsure.push(node),
                        }
                    }
                }
            }
        }
        report.unsure.sort_unstable();
        report.unsure.dedup();
        report.nodes = report.of.saturating_sub(report.unsure.len());
        report
    }
}
