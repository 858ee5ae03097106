//! The send queue's wake-up protocol: only the send that finds the queue empty wakes the connection task.
//!
//! The connection of these models does with the queue what the real one does. It waits for its waker alone, so a message
//! that wakes nobody is a deadlock.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread;

use super::{block_on, check};
use crate::send_queue::write_buffer::Frames;
use crate::send_queue::{Admission, Bounds, QueueItem, Refused, SendQueue, Ticket, Waiting};
use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::frame::OpCode;
use endpoint_wire::role::Role;

/// Preemptions of a model with three threads, and with two.
const FEW: Option<usize> = Some(3);
const SOME: Option<usize> = None;

/// A queue with room for so many messages.
fn queue(messages: usize) -> Arc<SendQueue> {
    let (send_timeout, log) = (Duration::from_secs(3600), <_>::default());
    let bounds =
        Bounds { messages, bytes: 1 << 20, send_timeout, overflow: None, log, budget: Arc::default(), traffic: None };
    Arc::new(SendQueue::new(Arc::new(bounds), Role::Server, None, None))
}

fn message(payload: &[u8; 1]) -> QueueItem<'_> {
    QueueItem::Borrowed(OpCode::Binary, payload)
}

fn send(queue: &SendQueue, payload: u8) -> Result<Ticket, Refused> {
    queue.enqueue(message(&[payload]), Admission::Bounded).map(|accepted| accepted.ticket)
}

/// An awaited send: waits for room, then until the message is written.
fn send_and_wait(queue: &SendQueue, payload: u8) -> Result<(), Refused> {
    let (mut for_room, mut for_write) = (Waiting::default(), Waiting::default());
    let mut ticket = None;
    block_on(poll_fn(|cx| {
        while ticket.is_none() {
            match send(queue, payload) {
                Ok(accepted) => {
                    queue.stop_waiting(&mut for_room);
                    ticket = Some(accepted);
                }
                Err(Refused::Full) => match queue.poll_capacity(cx, 1, &mut for_room) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                },
                Err(refused) => return Poll::Ready(Err(refused)),
            }
        }
        queue.poll_flushed(cx, ticket.unwrap_or_default(), &mut for_write)
    }))
}

/// The connection task, as far as the queue knows it.
#[derive(Default)]
struct Connection {
    attached: bool,
    /// The payloads that it wrote, in order.
    written: Vec<u8>,
    closes: bool,
    aborted: bool,
}

impl Connection {
    /// Runs until it is asked to close, or aborted, or has written so many messages.
    fn run(queue: &SendQueue, messages: usize) -> Self {
        let mut connection = Self::default();
        block_on(poll_fn(|cx| connection.poll(queue, messages, cx)));
        connection
    }

    fn poll(&mut self, queue: &SendQueue, messages: usize, cx: &Context<'_>) -> Poll<()> {
        if !self.attached {
            self.attached = true;
            queue.attach(cx.waker());
        }
        if queue.has_news() {
            self.write(queue);
        }
        if self.closes || self.aborted || self.written.len() >= messages { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes over what has gathered, writes and reports it.
    fn write(&mut self, queue: &SendQueue) {
        let mut out = Frames::default();
        let collected = queue.collect(&mut out);
        self.aborted |= collected.news.aborted;
        if collected.close.is_some() {
            self.closes = true;
            // the end: nothing more is accepted, and what came before is taken along
            queue.stop_accepting();
            if queue.has_news() {
                self.write(queue);
            }
        }
        let encoded = out.single(usize::MAX).unwrap_or_default();
        self.written.extend(encoded.chunks(3).map(|frame| frame[2]));
        if queue.written(collected.ticket, 0) {
            self.write(queue);
        }
    }

    /// The same in order of the payloads, for senders that race.
    fn sorted(mut self) -> Vec<u8> {
        self.written.sort_unstable();
        self.written
    }
}

fn in_thread<T: 'static>(queue: &Arc<SendQueue>, act: impl FnOnce(&SendQueue) -> T + 'static) -> thread::JoinHandle<T> {
    let queue = queue.clone();
    thread::spawn(move || act(&queue))
}

#[test]
fn message_of_each_sender_is_written_without_another_wake() {
    check(SOME, || {
        let queue = queue(100);
        let senders = [1, 2].map(|payload| in_thread(&queue, move |queue| send(queue, payload).is_ok()));
        assert_eq!(Connection::run(&queue, 2).sorted(), [1, 2]);
        assert!(senders.into_iter().all(|sender| sender.join().unwrap()));
        assert_eq!(queue.queued_messages(), 0);
    });
}

#[test]
fn messages_of_one_sender_are_written_in_order() {
    check(SOME, || {
        let queue = queue(100);
        let sender = in_thread(&queue, |queue| (1..=3).for_each(|payload| assert!(send(queue, payload).is_ok())));
        assert_eq!(Connection::run(&queue, 3).written, [1, 2, 3]);
        sender.join().unwrap();
    });
}

#[test]
fn message_that_a_handler_sends_needs_no_wake_beside_one_of_another_task() {
    check(SOME, || {
        let queue = queue(100);
        let sender = in_thread(&queue, |queue| send(queue, 1).is_ok());
        let (mut connection, mut handled) = (Connection::default(), false);
        block_on(poll_fn(|cx| {
            if !handled {
                handled = true;
                // the handler runs before the connection looks at the queue
                queue.enter_handler(|| send(&queue, 2)).unwrap();
            }
            connection.poll(&queue, 2, cx)
        }));
        assert!(sender.join().unwrap());
        assert_eq!(connection.sorted(), [1, 2]);
    });
}

#[test]
fn awaited_sends_end_when_they_are_written() {
    check(FEW, || {
        let queue = queue(100);
        let senders = [1, 2].map(|payload| in_thread(&queue, move |queue| send_and_wait(queue, payload)));
        assert_eq!(Connection::run(&queue, 2).sorted(), [1, 2]);
        senders.into_iter().for_each(|sender| assert_eq!(sender.join().unwrap(), Ok(())));
    });
}

#[test]
fn senders_waiting_for_space_get_it() {
    check(FEW, || {
        let queue = queue(1);
        let senders = [1, 2].map(|payload| in_thread(&queue, move |queue| send_and_wait(queue, payload)));
        assert_eq!(Connection::run(&queue, 2).sorted(), [1, 2]);
        senders.into_iter().for_each(|sender| assert_eq!(sender.join().unwrap(), Ok(())));
    });
}

#[test]
fn batch_is_written_once_it_is_flushed() {
    check(SOME, || {
        let queue = queue(100);
        queue.set_batching(true);
        let sender = in_thread(&queue, |queue| {
            send(queue, 1).unwrap();
            send(queue, 2).unwrap();
            let (ticket, mut waiting) = (queue.flush_batch(), Waiting::default());
            block_on(poll_fn(|cx| queue.poll_flushed(cx, ticket, &mut waiting)))
        });
        assert_eq!(Connection::run(&queue, 2).written, [1, 2]);
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn batch_is_written_when_its_sender_waits_for_space() {
    check(FEW, || {
        let queue = queue(1);
        queue.set_batching(true);
        let sender = in_thread(&queue, |queue| {
            send(queue, 1).unwrap();
            let mut waiting = Waiting::default();
            block_on(poll_fn(|cx| queue.poll_capacity(cx, 1, &mut waiting))).unwrap();
            queue.set_batching(false);
            send(queue, 2)
        });
        assert_eq!(Connection::run(&queue, 2).written, [1, 2]);
        assert!(sender.join().unwrap().is_ok());
    });
}

#[test]
fn message_beside_a_batch_that_ends_is_written() {
    check(FEW, || {
        let queue = queue(100);
        queue.set_batching(true);
        let sender = in_thread(&queue, |queue| assert!(send(queue, 1).is_ok()));
        let flusher = in_thread(&queue, |queue| {
            send(queue, 2).unwrap();
            queue.set_batching(false);
        });
        let connection = Connection::run(&queue, 2);
        sender.join().unwrap();
        flusher.join().unwrap();
        assert_eq!(connection.sorted(), [1, 2]);
    });
}

#[test]
fn message_is_refused_or_written_though_the_session_closes() {
    check(FEW, || {
        let queue = queue(100);
        let sender = in_thread(&queue, |queue| send_and_wait(queue, 1));
        let closer = in_thread(&queue, |queue| queue.close(CloseReason::from(CloseCode::NormalClosure)));
        let connection = Connection::run(&queue, usize::MAX);
        queue.end(false);
        closer.join().unwrap();
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(connection.written, [1]),
            refused => assert_eq!((refused, &connection.written[..]), (Err(Refused::Closed), &[][..])),
        }
        assert_eq!((queue.queued_messages(), queue.queued_bytes()), (0, 0));
    });
}

#[test]
fn message_is_refused_or_reported_as_lost_when_the_connection_breaks() {
    check(SOME, || {
        let queue = queue(100);
        let sender = in_thread(&queue, |queue| send_and_wait(queue, 1));
        // the connection looks once, and then its socket fails
        let mut connection = Connection::default();
        let _ = connection.poll(&queue, usize::MAX, &Context::from_waker(Waker::noop()));
        queue.end(false);
        let sent = sender.join().unwrap();
        let expected = if connection.written.is_empty() { Err(Refused::Closed) } else { Ok(()) };
        assert_eq!(sent, expected);
        assert_eq!((queue.queued_messages(), queue.queued_bytes()), (0, 0));
    });
}

#[test]
fn sender_waiting_for_space_fails_when_the_session_ends() {
    check(SOME, || {
        let queue = queue(1);
        send(&queue, 1).unwrap();
        let sender = in_thread(&queue, |queue| send_and_wait(queue, 2));
        queue.stop_accepting();
        queue.end(true);
        let sent = sender.join().unwrap();
        assert!(matches!(sent, Err(Refused::Closed | Refused::TimedOut)), "{sent:?}");
    });
}

#[test]
fn connection_without_a_waker_yet_finds_what_was_sent() {
    check(SOME, || {
        let queue = queue(100);
        let sender = in_thread(&queue, |queue| assert!(send(queue, 1).is_ok()));
        assert_eq!(Connection::run(&queue, 1).written, [1]);
        sender.join().unwrap();
    });
}

#[test]
fn aborted_connection_notices_it() {
    check(SOME, || {
        let queue = queue(100);
        let sender = in_thread(&queue, |queue| send(queue, 1).is_ok());
        let aborter = in_thread(&queue, SendQueue::abort);
        assert!(Connection::run(&queue, usize::MAX).aborted);
        block_on(poll_fn(|cx| queue.poll_aborted(cx)));
        queue.detach();
        sender.join().unwrap();
        aborter.join().unwrap();
    });
}

#[test]
fn task_running_after_the_end_notices_the_abort() {
    check(SOME, || {
        let queue = queue(100);
        let aborter = in_thread(&queue, SendQueue::abort);
        block_on(poll_fn(|cx| queue.poll_aborted(cx)));
        aborter.join().unwrap();
    });
}
