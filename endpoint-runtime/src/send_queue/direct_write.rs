//! Broadcast frames, written without waking the connection: by the broadcast itself, or a little later by a flusher,
//! which writes everything queued until it runs. Only plain sockets of a server are written to in this way; for all
//! others the flusher wakes the connection.
//!
//! The caller that turns `pending` from false to true must make sure that the queue is checked. A sender wakes the
//! connection; a broadcast puts the session on a flusher's list instead.

use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;

use super::{Refused, SendQueue, State, WRITE_BATCH_BYTES};
use crate::send_queue::sync::{MutexGuard, Ordering};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::role::Role;

/// Broadcasts write to a session directly at most once in this many microseconds: later ones gather, so that a burst
/// does not cost a system call for each message.
pub(super) const GATHER: u32 = 1000;

/// The time of a broadcast, in microseconds since an arbitrary start. It wraps after 71 minutes; then one broadcast is
/// queued that might have been written directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millisecond(pub(super) u32);

impl Millisecond {
    pub(crate) fn now() -> Self {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        Self(BEGINNING.get_or_init(Instant::now).elapsed().as_micros() as u32)
    }

    fn after(self, pause: Duration) -> Self {
        Self(self.0.wrapping_add(pause.as_micros() as u32))
    }

    fn is_before(self, other: Self) -> bool {
        (other.0.wrapping_sub(self.0) as i32) > 0
    }
}

/// A session's record of its broadcasts.
#[derive(Debug)]
pub(super) struct Broadcasts {
    /// The last broadcast that was written directly.
    direct: Millisecond,
    /// Broadcasts before this time are a burst; kept by the first of the sessions that are addressed together.
    burst_until: Millisecond,
}

impl Default for Broadcasts {
    fn default() -> Self {
        Self { direct: Millisecond(0u32.wrapping_sub(GATHER)), burst_until: Millisecond(0) }
    }
}

impl SendQueue {
    /// Whether a broadcast to this session first, and to others, follows another so closely that it is a burst.
    pub(crate) fn is_in_burst(&self, moment: Millisecond) -> bool {
        moment.is_before(self.lock().broadcasts.burst_until)
    }

    /// Takes the frames of the burst so far, for the broadcast that continues it.
    pub(crate) fn take_burst(&self) -> Option<Bytes> {
        self.lock().rare.as_mut()?.burst.take()
    }

    /// Ends a broadcast to this session first, and to others; another one within `pause` is a burst.
    pub(crate) fn ends_broadcast(&self, pause: Duration, burst: Option<Bytes>) {
        let mut state = self.lock();
        state.broadcasts.burst_until = Millisecond::now().after(pause);
        if burst.is_some() && !state.ended {
            state.rare().burst = burst;
        }
    }

    /// Writes a frame directly if nothing is queued before it and the socket accepts it, which saves waking the
    /// connection. False if the frame must be queued.
    pub(crate) fn try_write_direct(&self, frame: &[u8], moment: Millisecond) -> Result<bool, Refused> {
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        let follows = moment.0.wrapping_sub(state.broadcasts.direct.0) < GATHER;
        if follows || self.is_running() || state.lined || state.batching || !state.is_empty() || !self.is_free() {
            return Ok(false);
        }
        state.broadcasts.direct = moment;
        let written = state.socket.as_ref().map_or(0, |socket| socket.try_write(frame).unwrap_or(0));
        if written == 0 {
            return Ok(false);
        }
        state.app_activity = true;
        state.accepted += 1;
        if written == frame.len() {
            state.written = state.accepted;
            state.count_gaps();
        } else {
            state.bytes += frame.len();
            state.rare().partial_frame = frame[written..].to_vec();
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
        std::hint::black_box((self.open.load(Ordering::Relaxed), self.deflation.is_some()));
    }

    /// A broadcast calls this before it queues a frame. If true, it must put the session on a flusher's list; then no
    /// other task wakes the connection until the flusher has run.
    pub(crate) fn claim(&self) -> bool {
        if self.is_running() || self.pending.load(Ordering::Relaxed) || self.pending.swap(true, Ordering::AcqRel) {
            return false;
        }
        // otherwise a flusher is about to run anyway
        !self.listed.swap(true, Ordering::AcqRel)
    }

    /// Runs for a flusher: writes everything queued, or wakes the connection.
    pub(crate) fn flush(&self) {
        // from here on it may be listed again
        self.listed.swap(false, Ordering::AcqRel);
        if !self.pending.load(Ordering::Acquire) {
            // the connection has collected it
            return;
        }
        let mut state = self.lock();
        if !self.pending.load(Ordering::Acquire) {
            return;
        }
        if !self.may_flush(&state) {
            return self.wake_connection(state);
        }
        if state.batching && state.bytes < WRITE_BATCH_BYTES {
            state.batched = true;
            return;
        }
        if !state.frames.is_empty() {
            let State { socket, frames, .. } = &mut *state;
            match socket.as_ref().map(|socket| try_write(socket, frames, WRITE_BATCH_BYTES)) {
                Some(Ok(count @ 1..)) => frames.advance(count),
                // or the connection finds the error
                _ => return self.wake_connection(state),
            }
            state.app_activity = true;
            if !state.frames.is_empty() {
                let rest = std::mem::take(&mut state.frames).into_bytes();
                state.bytes = rest.len();
                state.rare().partial_frame = rest;
                return self.wake_connection(state);
            }
            state.frames.shrink(512);
            (state.bytes, state.written) = (0, state.accepted);
            self.shrank(&mut state);
            (state.warned, state.blocked) = (false, false);
            state.count_gaps();
        }
        // under the lock: a connection that sees nothing pending must not write before the frames written here
        self.pending.swap(false, Ordering::AcqRel);
    }

    /// Whether there are only frames to write, and nothing before them.
    fn may_flush(&self, state: &State) -> bool {
        let nothing = |rare: &super::Rare| {
            rare.partial_frame.is_empty() && rare.control.is_empty() && rare.close.is_none() && rare.waiters.is_empty()
        };
        self.is_free()
            && self.is_open()
            && !(state.look || state.cut || state.lined || state.parts)
            && state.frames.len() <= WRITE_BATCH_BYTES
            && state.rare.as_deref().is_none_or(nothing)
    }

    /// Called if no flusher will run: the connection must check the queue instead.
    pub(crate) fn abandon_flush(&self) {
        self.listed.swap(false, Ordering::AcqRel);
        if self.pending.load(Ordering::Acquire) {
            self.wake_connection(self.lock());
        }
    }

    /// Wakes the connection even if the queue is already pending.
    fn wake_connection(&self, state: MutexGuard<'_, State>) {
        let waker = state.connection.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Writes once, at most `most` bytes. Returns the number of bytes written.
pub(super) fn try_write(socket: &OwnedWriteHalf, frames: &Frames, most: usize) -> io::Result<usize> {
    match frames.single(most) {
        Some(bytes) => socket.try_write(bytes),
        None => {
            let mut slices = Frames::slices();
            let count = frames.segments(&mut slices, most);
            socket.try_write_vectored(&slices[..count])
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
        let bounds = Bounds { messages: 100, bytes: 1 << 30, send_timeout: FAR, overflow: None, log, budget };
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
        assert!(send_queue.try_write_direct(&frame(b"first"), Millisecond(0)).unwrap());
        send_queue.control(OpCode::Ping, b"").unwrap();
        let collected = send_queue.collect(&mut out);
        while !out.is_empty() {
            send_queue.write(&mut out, usize::MAX).unwrap();
        }
        // between the connection's write and its report
        assert!(send_queue.try_write_direct(&frame(b"second"), Millisecond(GATHER)).unwrap());
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
            let aside = || send_queue.outside_handler(|| assert!(send_queue.is_running(), "no handler runs"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(aside)).is_err());
            assert!(send_queue.is_running());
        });
        assert!(!send_queue.is_running());
    }

    #[tokio::test]
    async fn turn_that_was_given_back_counts_for_nothing() {
        let (send_queue, _socket, _peer) = send_queue().await;
        let (mut turn, cx) = (FragmentTicket::default(), &mut Context::from_waker(Waker::noop()));
        assert!(send_queue.poll_turn(cx, OpCode::Text, &mut turn, &mut Waiting::default()).is_ready());
        assert_eq!(send_queue.queued_messages(), 1);
        send_queue.give_up_turn(&mut turn, false);
        assert_eq!(send_queue.queued_messages(), 0);
        assert!(send_queue.try_write_direct(&frame(b"immediately"), Millisecond(0)).unwrap());
        assert_eq!(send_queue.queued_messages(), 0);
    }
}
