//! What a session may take, and all sessions together: the settings of a container that are limits.

use std::time::Duration;

use super::ContainerBuilder;
use crate::config::{Compression, Overflow};

impl ContainerBuilder {
    /// The most bytes of a whole message, unless the endpoint says otherwise. Default: 1 MiB.
    ///
    /// Of a compressed message it is what comes out; what goes in may be twice as much and 1 KiB. More ends the session with 1009.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.limits.max_message_size = bytes;
        self
    }

    /// How deeply the data of a message may be nested, in levels, unless the endpoint has its own bound. Default: 128.
    ///
    /// A decoder calls itself for each level, so without a bound a message of a few kilobytes exhausts the stack, which
    /// ends the process. Data that is nested more deeply is an error with [`is_decode`](crate::Error::is_decode); a session
    /// without `on_error` ends with 1007, as after any message that does not decode.
    ///
    /// A level is an array or object of JSON, of events too; an array or map of MessagePack; an array, map or tag of CBOR;
    /// a message or group inside of another of Protocol Buffers, of which `prost` reads 100 at most. The bytes are counted
    /// before they are decoded, those of fields too that the type does not have. The bound holds for
    /// [`Json`](crate::Json), `MessagePack`, `Cbor`, `Protobuf`, [`Negotiated`](crate::Negotiated) and
    /// [`Event`](crate::Event) as payloads, and inside of your own [`DecodeText`](crate::DecodeText),
    /// [`DecodeBinary`](crate::DecodeBinary) and listed decoders. What a handler decodes by a call of its own has the
    /// default bound.
    ///
    /// 128 levels fit into the stack of a thread of tokio, 2 MiB, also in a debug build and for a type of a dozen fields that
    /// contains itself. Larger types and higher bounds need a larger stack
    /// (`tokio::runtime::Builder::thread_stack_size`), or a lower bound. The bound cannot help a type that contains
    /// itself without a level of data in between, such as `struct A(Option<Box<A>>)`, nor a `Deserialize` that goes on
    /// reading after an error.
    pub fn max_nesting(mut self, levels: usize) -> Self {
        self.limits.max_nesting = levels;
        self
    }

    /// Ends a session after this long of silence, as [`Session::set_idle_timeout`](crate::Session::set_idle_timeout) has
    /// it; `None` never. Default: one minute, which a living peer never reaches, since it answers the pings.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// Sends a ping when one of the two sides was silent this long; `None` never does. Default: 30 seconds.
    ///
    /// A peer that is silent has to prove that it is alive: its pong counts for the
    /// [`idle_timeout`](Self::idle_timeout) and for the [`pong_timeout`](Self::pong_timeout). Where it is we who wrote
    /// nothing, as to a peer that only uploads, the ping keeps a proxy from cutting the connection: nginx waits 60
    /// seconds for a byte of the server. Every byte that is written counts, pings and pongs too. While an answer is
    /// awaited there is no further ping, unless `pong_timeout` is off.
    pub fn ping_interval(mut self, interval: Option<Duration>) -> Self {
        self.limits.ping_interval = interval;
        self
    }

    /// Ends a session when a ping of its [`ping_interval`](Self::ping_interval) was written and nothing came from the
    /// peer for this long; `None` never does. Default: 30 seconds.
    ///
    /// It finds the peer that vanished in a room that speaks, which is never idle. Any byte of the peer proves life, not
    /// only the pong (RFC 6455 §5.5.3 allows to answer only the latest ping), and so does a write that went on after it
    /// was blocked. The time does not count while the ping waits behind what the peer has yet to read (that is limited
    /// by [`send_timeout`](Self::send_timeout)), nor while the peer is not read, because a handler is behind. The peer
    /// gets 1001 and the reason `ping timeout`, `on_close` sees 1006 as after an idle timeout. Without pings there is no
    /// such limit.
    pub fn pong_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.limits.pong_timeout = timeout;
        self
    }

    /// How long a message may wait to be sent, and how long a peer may read nothing at all before its session ends.
    /// Default: 30 seconds.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.limits.send_timeout = timeout;
        self
    }

    /// The least bytes per second of a message that a handler takes whole; zero is no such limit. Default: 1 KiB.
    ///
    /// Such a message may take 30 seconds and its size at this rate, from its first byte to its last; a peer that takes
    /// longer is ended with 1008, and `on_error` sees an error that [`is_timeout`](crate::Error::is_timeout). What is compressed
    /// counts as it comes. The time does not count while the peer is not read, because a handler is behind. A handler
    /// that takes parts or a stream keeps nothing, so it is not concerned.
    pub fn min_receive_rate(mut self, bytes_per_second: usize) -> Self {
        self.limits.min_receive_rate = bytes_per_second;
        self
    }

    /// The least bytes per second that a peer has to take while something waits for it; zero is no such limit. Default:
    /// 1 KiB.
    ///
    /// It is measured over each [`send_timeout`](Self::send_timeout), from when a write was blocked: within it the peer
    /// has to take so many bytes on average, or everything. One that takes less is ended like one that reads nothing at
    /// all, so a peer that reads a byte now and then does not keep its queue for ever. A session whose own send timeout
    /// is `None` has no such limit.
    pub fn min_send_rate(mut self, bytes_per_second: usize) -> Self {
        self.limits.min_send_rate = bytes_per_second;
        self
    }

    /// Grace for closing. It limits three waits: how long handlers may go on with the messages that were received before
    /// the session ended; how long the peer may take nothing of what is still queued, which is written for as long as
    /// bytes move, at most for the send timeout; and the closing handshake together with the end of TCP (RFC 6455 §7.1).
    /// It protects against peers and handlers that would keep a closed session for ever. Default: 5 seconds.
    ///
    /// A session whose send timeout is off ([`set_send_timeout(None)`](crate::Session::set_send_timeout)) has no limit for
    /// the whole of what is queued, only the one without progress.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.limits.close_timeout = timeout;
        self
    }

    /// How many messages, and bytes, may wait in one session's outbound queue. Default: 65,536 and 16 MiB.
    pub fn send_queue(mut self, messages: usize, bytes: usize) -> Self {
        (self.limits.send_queue_messages, self.limits.send_queue_bytes) = (messages, bytes);
        self
    }

    /// How many rooms one session may be in at a time. Over it [`Session::join`](crate::Session::join) returns `false`,
    /// and the first time is logged. Default: 10,000, which protects against a client that names rooms without an end.
    pub fn max_rooms_per_session(mut self, rooms: usize) -> Self {
        self.limits.max_rooms_per_session = rooms;
        self
    }

    /// What is done with a message for which the outbound queue has no room. Default: [`Overflow::Wait`] by the basic remote,
    /// [`Overflow::Error`] by the async one and broadcasts.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = Some(overflow);
        self
    }

    /// Whether and how messages are compressed (permessage-deflate, RFC 7692), unless the endpoint says otherwise.
    /// Default: [`Compression::OFF`].
    pub fn compression(mut self, compression: Compression) -> Self {
        self.limits.compression = compression;
        self
    }

    /// How many bytes all sessions together may own for compression. Default: 256 MiB.
    ///
    /// A session whose contexts are not taken over owns nothing while no message is under way; a compressed message
    /// whose rest is waited for takes 80 KB. A session with
    /// [`context_takeover`](Compression::context_takeover) is counted from its beginning with what it will come to:
    /// about 380 KB for what it sends and 48 KB for what it receives; the last 32 KB that it received, which it
    /// remembers, are counted as they come. Beyond the budget, clients are answered without
    /// the extension, so their sessions open and are not compressed.
    pub fn compression_budget(mut self, bytes: usize) -> Self {
        self.compression_budget = bytes;
        self
    }

    /// How many bytes the unfinished messages of all sessions may take together. Default: 256 MiB.
    ///
    /// A message that a handler takes whole is kept until its end has come; one that is compressed may take a hundred
    /// times what came of it. What is beyond a read counts, from 4 KiB on, as it grows. A peer whose message finds no room
    /// is ended with 1013, and `on_error` sees an error that [`is_too_big`](crate::Error::is_too_big). Messages that are taken
    /// in parts or as a stream are not kept. See also [`unfinished_bytes`](crate::ServerContainer::unfinished_bytes).
    pub fn receive_budget(mut self, bytes: usize) -> Self {
        self.receive_budget = bytes;
        self
    }

    /// How many bytes may wait in the outbound queues of all sessions together. Default: 1 GiB.
    ///
    /// [`send_queue`](Self::send_queue) bounds one session, which does not help against a thousand slow listeners.
    /// Beyond the budget a message for a session whose queue does not run empty is treated as if that queue were full:
    /// its [`overflow`](Self::overflow) says what becomes of it. A message that is alone in its queue passes, and so
    /// does what a peer that reads is about to take, up to 64 KiB. A peer that does not read its replies is not read
    /// from any more. See also [`queued_bytes`](crate::ServerContainer::queued_bytes).
    pub fn send_budget(mut self, bytes: usize) -> Self {
        self.send_budget = bytes;
        self
    }
}
