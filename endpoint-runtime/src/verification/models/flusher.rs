//! Broadcasts beside other senders: whoever claims a session sees to it that a flusher comes by, and nobody else wakes
//! the connection until then.
//!
//! The socket is a real one, whose peer tells what was written; the kernel's buffer is never full.

use std::future::poll_fn;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use loom::thread;
use tokio::runtime::Runtime;

use super::{block_on, check};
use crate::send_queue::write_buffer::Frames;
use crate::send_queue::{Admission, Bounds, BroadcastTime, QueueItem, SendQueue, Waiting};
use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use endpoint_wire::role::Role;

const FEW: Option<usize> = Some(2);

/// A plain socket, which every run of a model uses again.
struct Wire {
    runtime: Runtime,
    near: TcpStream,
    far: TcpStream,
}

impl Wire {
    fn new() -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build().unwrap();
        Arc::new(Self { runtime, near, far })
    }

    /// A queue that writes to the socket.
    fn queue(&self) -> Arc<SendQueue> {
        let (send_timeout, log) = (Duration::from_secs(3600), <_>::default());
        let bounds = Bounds {
            messages: 100,
            bytes: 1 << 20,
            send_timeout,
            overflow: None,
            log,
            budget: Arc::default(),
            traffic: None,
        };
        let near = self.near.try_clone().unwrap();
        let writer = self.runtime.block_on(async {
            let (reader, writer) = tokio::net::TcpStream::from_std(near).unwrap().into_split();
            writer.writable().await.unwrap();
            drop(reader);
            writer
        });
        Arc::new(SendQueue::new(Arc::new(bounds), Role::Server, None, Some(writer)))
    }

    /// Waits until so many messages were written, and nothing else; their payloads in order.
    fn expect(&self, messages: usize) -> Vec<u8> {
        let mut frames = vec![0; 3 * messages];
        (&self.far).read_exact(&mut frames).unwrap();
        frames.chunks(3).map(|frame| frame[2]).collect()
    }
}

/// The connection task: takes over, writes to the socket, and reports, until the application closes the session.
fn serve(queue: &SendQueue) {
    let mut attached = false;
    block_on(poll_fn(|cx| {
        if !attached {
            attached = true;
            queue.attach(cx.waker());
        }
        let mut closes = false;
        while queue.has_news() {
            queue.set_has_unflushed(true);
            let mut out = Frames::default();
            let collected = queue.collect(&mut out);
            while !out.is_empty() {
                assert!(queue.write(&mut out, usize::MAX).unwrap() > 0, "the kernel's buffer is full");
            }
            queue.set_has_unflushed(false);
            queue.written(collected.ticket, 0);
            closes |= collected.close.is_some();
        }
        if closes { Poll::Ready(()) } else { Poll::Pending }
    }));
    queue.end(false);
}

fn frame(payload: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::frame(&mut frame, true, OpCode::Binary, &[payload]);
    frame
}

/// A broadcast whose message is queued and left to a flusher, which comes by at once.
fn broadcast_and_flush(queue: &SendQueue, payload: u8) {
    let claimed = queue.claim();
    queue.enqueue(QueueItem::EncodedBorrowed(&frame(payload)), Admission::Bounded).unwrap();
    if claimed {
        queue.flush();
    }
}

fn broadcast_directly(queue: &SendQueue, payload: u8, time: BroadcastTime) {
    if !queue.try_write_direct(&frame(payload), time).unwrap() {
        broadcast_and_flush(queue, payload);
    }
}

fn send(queue: &SendQueue, payload: u8) {
    queue.enqueue(QueueItem::Borrowed(OpCode::Binary, &[payload]), Admission::Bounded).unwrap();
}

/// Has one of them act beside the other and the connection. All messages are written without anything else that would
/// wake the connection: after that it is closed. The payloads in order.
fn race(wire: &Wire, messages: usize, batching: bool, acts: [fn(&SendQueue); 2]) -> Vec<u8> {
    let queue = wire.queue();
    queue.set_batching(batching);
    let [connection, other] = [serve, acts[0]].map(|act| {
        let queue = queue.clone();
        thread::spawn(move || act(&queue))
    });
    acts[1](&queue);
    other.join().unwrap();
    while queue.queued_messages() > 0 {
        thread::yield_now();
    }
    queue.close(CloseReason::from(CloseCode::NormalClosure));
    connection.join().unwrap();
    queue.release_socket();
    wire.expect(messages)
}

fn sorted(mut payloads: Vec<u8>) -> Vec<u8> {
    payloads.sort_unstable();
    payloads
}

#[test]
fn broadcast_beside_a_send_is_written() {
    let wire = Wire::new();
    check(FEW, move || {
        let payloads = race(&wire, 2, false, [|queue| broadcast_and_flush(queue, 1), |queue| send(queue, 2)]);
        assert_eq!(sorted(payloads), [1, 2]);
    });
}

#[test]
fn broadcasts_that_race_are_written() {
    let wire = Wire::new();
    check(FEW, move || {
        let acts: [fn(&SendQueue); 2] = [|queue| broadcast_and_flush(queue, 1), |queue| broadcast_and_flush(queue, 2)];
        assert_eq!(sorted(race(&wire, 2, false, acts)), [1, 2]);
    });
}

#[test]
fn broadcast_without_a_flusher_is_written() {
    let wire = Wire::new();
    check(FEW, move || {
        let abandoned = |queue: &SendQueue| {
            let claimed = queue.claim();
            queue.enqueue(QueueItem::EncodedBorrowed(&frame(1)), Admission::Bounded).unwrap();
            if claimed {
                queue.abandon_flush();
            }
        };
        assert_eq!(sorted(race(&wire, 2, false, [abandoned, |queue| send(queue, 2)])), [1, 2]);
    });
}

#[test]
fn message_that_was_sent_before_a_direct_write_goes_before_it() {
    let wire = Wire::new();
    check(FEW, move || {
        let acts: [fn(&SendQueue); 2] = [
            |queue| {
                send(queue, 1);
                broadcast_directly(queue, 2, BroadcastTime::now());
            },
            |queue| send(queue, 3),
        ];
        let mut payloads = race(&wire, 3, false, acts);
        payloads.retain(|payload| *payload != 3);
        assert_eq!(payloads, [1, 2]);
    });
}

#[test]
fn awaited_send_beside_a_broadcast_ends() {
    let wire = Wire::new();
    check(FEW, move || {
        let awaited = |queue: &SendQueue| {
            let message = QueueItem::Borrowed(OpCode::Binary, &[2]);
            let ticket = queue.enqueue(message, Admission::Bounded).unwrap().ticket;
            let mut waiting = Waiting::default();
            block_on(poll_fn(|cx| queue.poll_flushed(cx, ticket, &mut waiting))).unwrap();
        };
        assert_eq!(sorted(race(&wire, 2, false, [|queue| broadcast_and_flush(queue, 1), awaited])), [1, 2]);
    });
}

#[test]
fn batch_that_ends_beside_a_broadcast_is_written() {
    let wire = Wire::new();
    check(FEW, move || {
        let batch = |queue: &SendQueue| {
            send(queue, 2);
            queue.set_batching(false);
        };
        assert_eq!(sorted(race(&wire, 2, true, [|queue| broadcast_and_flush(queue, 1), batch])), [1, 2]);
    });
}

#[test]
fn batch_that_is_flushed_beside_a_broadcast_is_written() {
    let wire = Wire::new();
    check(FEW, move || {
        let flushed = |queue: &SendQueue| {
            send(queue, 2);
            let (ticket, mut waiting) = (queue.flush_batch(), Waiting::default());
            block_on(poll_fn(|cx| queue.poll_flushed(cx, ticket, &mut waiting))).unwrap();
            // the broadcast may have come behind it
            queue.set_batching(false);
        };
        assert_eq!(sorted(race(&wire, 2, true, [|queue| broadcast_and_flush(queue, 1), flushed])), [1, 2]);
    });
}
