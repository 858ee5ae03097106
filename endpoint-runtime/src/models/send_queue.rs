//! The send queue's wake-up protocol: only the send that finds the queue empty wakes the connection task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use loom::future::block_on;
use loom::thread;

use super::check;
use crate::frames::Frames;
use crate::outbound::{Bounds, Outbound, Outgoing, Refused, Ticket};
use crate::role::Role;
use crate::wire::frame::OpCode;

/// A queue with room for so many messages.
fn queue(messages: usize) -> Arc<Outbound> {
    let (send_timeout, log) = (Duration::from_secs(3600), <_>::default());
    let bounds = Bounds { messages, bytes: 1 << 20, send_timeout, overflow: None, log, budget: Arc::default() };
    Arc::new(Outbound::new(Arc::new(bounds), Role::Server, None, None))
}

fn send(queue: &Outbound, payload: u8) -> Result<Ticket, Refused> {
    queue.offer(Outgoing::Small(OpCode::Binary, &[payload]))
}

/// The connection task, as far as the queue knows it: takes over, writes, and reports, until it is asked to close or
/// has written so many messages. The payloads that it wrote, in order.
async fn connection(queue: &Outbound, messages: usize) -> Vec<u8> {
    let (mut written, mut attached) = (Vec::new(), false);
    poll_fn(|cx| {
        if !attached {
            attached = true;
            queue.attach(cx.waker());
        }
        let closes = write(queue, &mut written);
        if closes || written.len() >= messages { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    written
}

/// Takes over, writes and reports what has gathered; true once the application has closed the session.
fn write(queue: &Outbound, written: &mut Vec<u8>) -> bool {
    let mut more = queue.has_news();
    while more {
        let mut out = Frames::default();
        let collected = queue.collect(&mut out);
        let encoded = out.single(usize::MAX).unwrap();
        written.extend(encoded.chunks(3).map(|frame| frame[2]));
        if collected.close.is_some() {
            // what came between the two
            queue.refuse();
            write(queue, written);
            return true;
        }
        more = queue.written(collected.ticket, 0) || queue.has_news();
    }
    false
}

#[test]
fn message_of_each_sender_is_written_without_another_wake() {
    check(Some(3), || {
        let queue = queue(100);
        let senders = [1, 2].map(|payload| {
            let queue = queue.clone();
            thread::spawn(move || assert!(send(&queue, payload).is_ok()))
        });
        let mut written = block_on(connection(&queue, 2));
        written.sort_unstable();
        assert_eq!(written, [1, 2]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(queue.queued_messages(), 0);
    });
}
