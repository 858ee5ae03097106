//! Broadcast frames, written without waking the connection: by the broadcast itself, or a little later by a flusher,
//! which writes everything queued until it runs. Only plain sockets of a server are written to in this way; for all
//! others the flusher wakes the connection.

use std::time::Duration;

use bytes::Bytes;

use super::broadcast_time::BroadcastTime;
use super::queue::{SendQueue, WRITE_BATCH_BYTES};
use super::refused::Refused;
use super::state::{Backpressure, Mode, Phase, QueueState};
use crate::send_queue::sync::Ordering;
use endpoint_wire::role::Role;

impl SendQueue {
    /// Whether a broadcast to this session first, and to others, follows another so closely that it is a burst.
    pub(crate) fn is_in_burst(&self, time: BroadcastTime) -> bool {
        time.is_before(self.lock().broadcasts.burst_until)
    }

    /// Takes the frames of the burst so far, for the broadcast that continues it.
    pub(crate) fn take_burst(&self) -> Option<Bytes> {
        self.lock().existing_cold()?.burst.take()
    }

    /// Ends a broadcast to this session first, and to others; another one within `pause` is a burst.
    pub(crate) fn end_broadcast(&self, pause: Duration, burst: Option<Bytes>) {
        let mut state = self.lock();
        state.broadcasts.burst_until = BroadcastTime::now().after(pause);
        if burst.is_some() && !state.has_ended() {
            state.cold().burst = burst;
        }
    }

    /// Writes a frame directly if nothing is queued before it and the socket accepts it, which saves waking the
    /// connection. False if the frame must be queued.
    pub(crate) fn try_write_direct(&self, frame: &[u8], time: BroadcastTime) -> Result<bool, Refused> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(Refused::Closed);
        }
        let follows = state.broadcasts.is_close(time);
        if follows || self.is_in_own_handler() || state.mode.is_batching() || !state.is_empty() || !self.is_free() {
            return Ok(false);
        }
        state.broadcasts.note_direct(time);
        let written = state.socket.as_ref().map_or(0, |socket| socket.try_write(frame).unwrap_or(0));
        if written == 0 {
            return Ok(false);
        }
        state.broadcasts.note_written();
        state.direct_bytes += written as u64;
        let ticket = state.next_ticket();
        if written == frame.len() {
            state.advance_written(ticket);
        } else {
            self.add_bytes(&mut state, frame.len());
            state.set_partial(frame[written..].to_vec());
            self.notify(state);
        }
        Ok(true)
    }

    /// Whether the connection holds nothing that must be written first. A client's frames must be masked first, which
    /// its connection does.
    fn is_free(&self) -> bool {
        // a relaxed load suffices: it matters only to callers that know what the connection holds
        self.role == Role::Server && !self.has_unflushed.load(Ordering::Relaxed)
    }

    /// Brings the queue into the caches: for several at a time that takes hardly longer than for one.
    pub(crate) fn prefetch(&self) {
        std::hint::black_box((self.is_open(), self.conversion.is_some()));
    }

    /// A broadcast calls this before it queues a frame. If true, it must put the session on a flusher's list; then no
    /// other task wakes the connection until the flusher has run.
    pub(crate) fn claim(&self) -> bool {
        if self.is_in_own_handler() || !self.pending.raise() {
            return false;
        }
        // otherwise a flusher is about to run anyway
        !self.listed.swap(true, Ordering::AcqRel)
    }

    /// Runs for a flusher: writes everything queued, or wakes the connection.
    pub(crate) fn flush(&self) {
        // from here on it may be listed again
        self.listed.swap(false, Ordering::AcqRel);
        if !self.pending.is_raised() {
            // the connection has collected it
            return;
        }
        let mut state = self.lock();
        if !self.pending.is_raised() {
            return;
        }
        if !self.may_flush(&state) {
            return self.wake_connection(state);
        }
        if state.mode.is_batching() && state.bytes.get() < WRITE_BATCH_BYTES {
            state.mode = Mode::Batching { unwoken: true };
            return;
        }
        if !state.frames.is_empty() {
            let QueueState { socket, frames, .. } = &mut *state;
            match socket.as_ref().map(|socket| frames.try_write(socket, WRITE_BATCH_BYTES)) {
                Some(Ok(count @ 1..)) => {
                    frames.advance(count);
                    state.direct_bytes += count as u64;
                }
                // or the connection finds the error
                _ => return self.wake_connection(state),
            }
            state.broadcasts.note_written();
            if !state.frames.is_empty() {
                let rest = std::mem::take(&mut state.frames).into_bytes();
                state.bytes.set(rest.len(), &self.bounds.budget);
                state.set_partial(rest);
                return self.wake_connection(state);
            }
            state.frames.shrink(512);
            let accepted = state.accepted();
            state.advance_written(accepted);
            state.bytes.set(0, &self.bounds.budget);
            state.backpressure = Backpressure::default();
        }
        // under the lock: a connection that sees nothing pending must not write before the frames written here
        self.pending.lower();
    }

    /// Whether there are only frames to write, and nothing before them.
    fn may_flush(&self, state: &QueueState) -> bool {
        self.is_free()
            && state.phase == Phase::Open
            && state.frames.len() <= WRITE_BATCH_BYTES
            && state.has_only_frames()
    }

    /// Called if no flusher will run: the connection must check the queue instead.
    pub(crate) fn abandon_flush(&self) {
        self.listed.swap(false, Ordering::AcqRel);
        if self.pending.is_raised() {
            self.wake_connection(self.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use tokio::io::AsyncReadExt;
    use tokio::net::tcp::OwnedReadHalf;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::send_queue::broadcast_time::DIRECT_INTERVAL;
    use crate::send_queue::write_buffer::Frames;
    use crate::send_queue::{Bounds, FAR, FragmentTicket, Waiting};
    use endpoint_wire::encode;
    use endpoint_wire::frame::OpCode;

    /// A queue over a plain socket, the rest of that socket, and its peer.
    async fn send_queue() -> (SendQueue, OwnedReadHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, writer) = listener.accept().await.unwrap().0.into_split();
        socket.as_ref().writable().await.unwrap();
        let (log, budget) = <_>::default();
        let bounds =
            Bounds { messages: 100, bytes: 1 << 30, send_timeout: FAR, overflow: None, log, budget, traffic: None };
        (SendQueue::new(Arc::new(bounds), Role::Server, None, Some(writer)), socket, peer)
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        encode::frame(&mut frame, true, OpCode::Binary, payload);
        frame
    }

    #[tokio::test]
    async fn broadcast_that_is_written_before_an_older_ticket_is_reported_counts() {
        let (send_queue, _socket, mut peer) = send_queue().await;
        let mut out = Frames::default();
        assert!(send_queue.try_write_direct(&frame(b"first"), BroadcastTime(0)).unwrap());
        send_queue.control(OpCode::Ping, b"").unwrap();
        let collected = send_queue.collect(&mut out);
        while !out.is_empty() {
            send_queue.write(&mut out, usize::MAX).unwrap();
        }
        // between the connection's write and its report
        assert!(send_queue.try_write_direct(&frame(b"second"), BroadcastTime(DIRECT_INTERVAL)).unwrap());
        send_queue.written(collected.ticket, 0);
        assert!(send_queue.lock().is_empty());
        let mut came = [0; 17];
        peer.read_exact(&mut came).await.unwrap();
        assert_eq!(came[..], *b"\x82\x05first\x89\x00\x82\x06second");
    }

    #[tokio::test]
    async fn handler_that_runs_is_known_again_after_a_panic_aside() {
        let (send_queue, _socket, _peer) = send_queue().await;
        send_queue.enter_handler(|| {
            let aside =
                || send_queue.outside_handler(|| assert!(send_queue.is_in_own_handler(), "no handler runs here"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(aside)).is_err());
            assert!(send_queue.is_in_own_handler());
        });
        assert!(!send_queue.is_in_own_handler());
    }

    #[tokio::test]
    async fn fragment_ticket_that_was_given_back_counts_for_nothing() {
        let (send_queue, _socket, _peer) = send_queue().await;
        let (mut ticket, cx) = (FragmentTicket::default(), &mut Context::from_waker(Waker::noop()));
        assert!(send_queue.poll_fragment_ticket(cx, OpCode::Text, &mut ticket, &mut Waiting::default()).is_ready());
        assert_eq!(send_queue.queued_messages(), 1);
        send_queue.abandon_message(&mut ticket, false);
        assert_eq!(send_queue.queued_messages(), 0);
        assert!(send_queue.try_write_direct(&frame(b"at once"), BroadcastTime(0)).unwrap());
        assert_eq!(send_queue.queued_messages(), 0);
    }
}
