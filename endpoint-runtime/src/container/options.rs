//! The options of sessions and of requests, each with its documentation and its default, for every builder that has
//! them. A new option gets its setter here.

use std::time::Duration;

use super::client_options::ClientSettings;
use super::guards::GuardSettings;
use super::handshake_hook::Hooks;
use crate::cluster::Cluster;
use crate::config::{COMPRESSION_BUDGET, HANDSHAKE_TIMEOUT, Limits, RECEIVE_BUDGET, SEND_BUDGET};
use crate::error::{Error, Kind};
use crate::handshake::head::HeadLimits;
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::router::TrailingSlash;
use crate::observe::observing::ObserveSettings;
use crate::session::state::States;

/// The limits of one session and of all sessions of a container together, and the values that they share.
#[derive(Debug)]
pub(crate) struct SessionSettings {
    pub(crate) limits: Limits,
    pub(crate) compression_budget: usize,
    pub(crate) receive_budget: usize,
    pub(crate) send_budget: usize,
    pub(crate) states: States,
    /// Calls that contradict each other, reported together with all other configuration errors.
    pub(crate) mistakes: Vec<String>,
}

impl SessionSettings {
    /// [`set_once`], with the error among the mistakes.
    pub(crate) fn set_once<T>(&mut self, option: &mut Option<T>, value: T, what: &str) {
        self.mistakes.extend(set_once(option, value, what).err());
    }
}

/// Sets an option that can be set only once; `what` names it for the error about a second value.
///
/// # Errors
/// It has a value already, which stays.
pub(crate) fn set_once<T>(option: &mut Option<T>, value: T, what: &str) -> Result<(), String> {
    if option.is_some() {
        return Err(set_twice(what));
    }
    *option = Some(value);
    Ok(())
}

/// The error about a second value of `what`.
pub(super) fn set_twice(what: &str) -> String {
    format!("{what} is set twice: remove one")
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            compression_budget: COMPRESSION_BUDGET,
            receive_budget: RECEIVE_BUDGET,
            send_budget: SEND_BUDGET,
            states: States::default(),
            mistakes: Vec::new(),
        }
    }
}

/// Which requests a server's container takes, and at which paths.
#[derive(Debug)]
pub(crate) struct RequestSettings {
    pub(crate) context_path: Option<String>,
    pub(crate) trailing_slash: TrailingSlash,
    /// `None` if no list was given.
    hosts: Option<Vec<String>>,
    /// `None` if no list was given.
    origins: Option<Vec<String>>,
    pub(crate) origin_policy: Option<Origins>,
    pub(crate) head_limits: HeadLimits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) hooks: Hooks,
    pub(crate) guards: GuardSettings,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) clients: ClientSettings,
    pub(crate) observing: ObserveSettings,
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self {
            context_path: None,
            trailing_slash: TrailingSlash::default(),
            hosts: None,
            origins: None,
            origin_policy: None,
            head_limits: HeadLimits::REQUEST,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            hooks: Hooks::default(),
            guards: GuardSettings::default(),
            cluster: None,
            clients: ClientSettings::default(),
            observing: ObserveSettings::default(),
        }
    }
}

impl RequestSettings {
    pub(crate) fn add_hosts<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, hosts: I) {
        self.hosts.get_or_insert_default().extend(hosts.into_iter().map(|host| host.as_ref().to_owned()));
    }

    pub(crate) fn add_origins<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, origins: I) {
        self.origins.get_or_insert_default().extend(origins.into_iter().map(|origin| origin.as_ref().to_owned()));
    }

    /// The admitted hosts.
    ///
    /// # Errors
    /// An entry is not a host.
    pub(crate) fn hosts(&self) -> Result<Hosts, Error> {
        self.hosts.as_ref().map_or_else(|| Ok(Hosts::default()), Hosts::list)
    }

    /// The admitted origins.
    ///
    /// # Errors
    /// An entry is not an origin, or there are a list and a policy.
    pub(crate) fn origins(&mut self) -> Result<Origins, Error> {
        match (self.origin_policy.take(), &self.origins) {
            (None, None) => Ok(Origins::same_origin()),
            (Some(policy), None) => Ok(policy),
            (None, Some(list)) => Origins::list(list),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Deploy, "`allowed_origins` and `origins` contradict each other: remove one"))
            }
        }
    }
}

/// The setters of [`SessionSettings`], for the builder of a server, a container or a client. The builder has a method
/// `session_settings`.
macro_rules! session_setters {
    ($builder:ty) => {
        /// Options of sessions. Those of an endpoint take precedence.
        impl $builder {
            /// Maximum size of a whole message in bytes, unless the endpoint overrides it. Default: 1 MiB.
            ///
            /// For a compressed message the limit applies to the decompressed size; the compressed size may be twice
            /// the limit plus 1 KiB. A larger message ends the session with 1009.
            pub fn max_message_size(mut self, bytes: usize) -> Self {
                self.session_settings().limits.max_message_size = bytes;
                self
            }

            /// Maximum nesting depth of the data of a message, in levels, unless the endpoint overrides it. Default:
            /// 128.
            ///
            /// A decoder recurses once for each level, so without a bound a message of a few kilobytes overflows the
            /// stack, which aborts the process. Deeper data is an error with [`is_decode`](crate::Error::is_decode); a
            /// session without `on_error` ends with 1007, as after any message that does not decode.
            ///
            /// A level is an array or object in JSON, including events; an array or map in MessagePack; an array, map
            /// or tag in CBOR; a nested message or group in Protocol Buffers, where `prost` reads at most 100. The
            /// levels are counted before decoding, including those in fields that the type does not have. The bound
            /// applies to [`Json`](crate::Json), `MessagePack`, `Cbor`, `Protobuf`, [`Negotiated`](crate::Negotiated)
            /// and [`Event`](crate::Event) as payloads, and inside your own [`DecodeText`](crate::DecodeText),
            /// [`DecodeBinary`](crate::DecodeBinary) and listed decoders. If a handler calls a decoder itself, the
            /// default bound applies.
            ///
            /// 128 levels fit into the 2 MiB stack of a tokio thread, even in a debug build and for a recursive type
            /// with a dozen fields. Larger types and higher bounds need a larger stack
            /// (`tokio::runtime::Builder::thread_stack_size`), or a lower bound. The bound does not protect a type that
            /// contains itself without a level of data in between, such as `struct A(Option<Box<A>>)`, or a
            /// `Deserialize` that continues reading after an error.
            pub fn max_nesting(mut self, levels: usize) -> Self {
                self.session_settings().limits.max_nesting = levels;
                self
            }

            /// Ends a session after this long without traffic, as defined by
            /// [`Session::set_idle_timeout`](crate::Session::set_idle_timeout); `None` disables the timeout. Default:
            /// one minute, which a live peer never reaches, because it answers the pings.
            pub fn idle_timeout(mut self, timeout: Option<std::time::Duration>) -> Self {
                self.session_settings().limits.idle_timeout = timeout;
                self
            }

            /// Sends a ping when either side was silent for this long; `None` disables pings. Default: 30 seconds.
            ///
            /// A silent peer has to prove that it is alive: its pong counts for the
            /// [`idle_timeout`](Self::idle_timeout) and for the [`pong_timeout`](Self::pong_timeout). If our side wrote
            /// nothing, as to a peer that only uploads, the ping keeps a proxy from closing the connection: nginx waits
            /// 60 seconds for a byte from the server. Every byte written counts, including pings and pongs. No further
            /// ping is sent while a pong is pending, unless `pong_timeout` is off.
            pub fn ping_interval(mut self, interval: Option<std::time::Duration>) -> Self {
                self.session_settings().limits.ping_interval = interval;
                self
            }

            /// Ends a session when a ping of its [`ping_interval`](Self::ping_interval) was written and the peer sent
            /// nothing for this long; `None` disables the timeout. Default: 30 seconds.
            ///
            /// It detects a vanished peer in a busy room, where the session is never idle. Any byte from the peer
            /// proves that it is alive, not only the pong (RFC 6455 §5.5.3 allows a peer to answer only the latest
            /// ping), and so does a blocked write that makes progress. The time does not count while the ping waits
            /// behind data that the peer has yet to read ([`send_timeout`](Self::send_timeout) limits that), or while
            /// reading is paused because a handler is behind. The peer gets 1001 and the reason `ping timeout`;
            /// `on_close` sees 1006, as after an idle timeout. Without pings the timeout has no effect.
            pub fn pong_timeout(mut self, timeout: Option<std::time::Duration>) -> Self {
                self.session_settings().limits.pong_timeout = timeout;
                self
            }

            /// Maximum time that a message waits to be sent, and that a peer may read nothing at all before its session
            /// ends. Default: 30 seconds.
            pub fn send_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.session_settings().limits.send_timeout = timeout;
                self
            }

            /// Minimum rate, in bytes per second, at which the peer sends a message that a handler takes whole; zero
            /// disables the limit. Default: 1 KiB.
            ///
            /// From first byte to last, such a message may take 30 seconds plus its size divided by this rate. If it
            /// takes longer, the session ends with 1008, and `on_error` sees an error that
            /// [`is_timeout`](crate::Error::is_timeout). A compressed message counts by its compressed bytes. The time
            /// does not count while reading is paused because a handler is behind. The limit does not apply to a
            /// handler that takes parts or a stream, because nothing is buffered for it.
            pub fn min_receive_rate(mut self, bytes_per_second: usize) -> Self {
                self.session_settings().limits.min_receive_rate = bytes_per_second;
                self
            }

            /// Minimum rate, in bytes per second, at which a peer reads while data waits for it; zero disables the
            /// limit. Default: 1 KiB.
            ///
            /// The rate is the average over each [`send_timeout`](Self::send_timeout), starting when a write blocks; a
            /// peer that reads everything within it always passes. The session of a slower peer ends as if the peer
            /// read nothing at all, so a peer that reads a byte now and then cannot keep its queue forever. The limit
            /// does not apply to a session whose own send timeout is `None`.
            pub fn min_send_rate(mut self, bytes_per_second: usize) -> Self {
                self.session_settings().limits.min_send_rate = bytes_per_second;
                self
            }

            /// Grace period for closing. It limits three waits: how long handlers may process the messages received
            /// before the session ended; how long the peer may read nothing of the data still queued, which is written
            /// as long as bytes move, at most for the send timeout; and the closing handshake together with the end of
            /// TCP (RFC 6455 §7.1). It protects against peers and handlers that would keep a closed session forever.
            /// Default: 5 seconds.
            ///
            /// With the send timeout off ([`set_send_timeout(None)`](crate::Session::set_send_timeout)), the total time
            /// for the queued data has no limit, only the time without progress.
            pub fn close_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.session_settings().limits.close_timeout = timeout;
                self
            }

            /// Maximum number of messages and of bytes in one session's send queue. Default: 65,536 and 16 MiB.
            pub fn send_queue(mut self, messages: usize, bytes: usize) -> Self {
                let limits = &mut self.session_settings().limits;
                (limits.send_queue_messages, limits.send_queue_bytes) = (messages, bytes);
                self
            }

            /// Maximum number of rooms that one session is in at a time. Beyond it
            /// [`Session::join`](crate::Session::join) returns `false`, and the first time is logged. Default: 10,000,
            /// which protects against a peer that names ever more rooms to join.
            pub fn max_rooms_per_session(mut self, rooms: usize) -> Self {
                self.session_settings().limits.max_rooms_per_session = rooms;
                self
            }

            /// Compression of messages (permessage-deflate, RFC 7692), unless the endpoint overrides it: a client
            /// offers it, a server accepts the offer. Default: [`Compression::OFF`](crate::Compression::OFF).
            ///
            /// A client without context takeover, or with a window below 15 bits, asks the server to keep to the same;
            /// if the server agrees to compression but not to that, connecting fails.
            pub fn compression(mut self, compression: $crate::config::Compression) -> Self {
                self.session_settings().limits.compression = compression;
                self
            }

            /// Maximum memory for compression, in bytes, of all sessions together. Default: 256 MiB.
            ///
            /// A session without context takeover holds no memory between messages; a compressed message that is not
            /// complete takes 80 KB. A session with [`context_takeover`](crate::Compression::context_takeover) counts
            /// in advance, when it opens: about 380 KB for sending and 48 KB for receiving; its window of the last 32
            /// KB received counts as it fills. Beyond the budget a server's response omits the extension, and a client
            /// does not offer it, so the sessions open without compression.
            pub fn compression_budget(mut self, bytes: usize) -> Self {
                self.session_settings().compression_budget = bytes;
                self
            }

            /// Maximum size, in bytes, of the incomplete messages of all sessions together. Default: 256 MiB.
            ///
            /// A message that a handler takes whole is buffered until its end arrives; a compressed message may take a
            /// hundred times the bytes received. A message that spans several reads counts, from 4 KiB on, as it grows.
            /// If a message exceeds the budget, its session ends with 1013, and `on_error` sees an error that
            /// [`is_too_big`](crate::Error::is_too_big). Messages taken in parts or as a stream are not buffered. A
            /// server reports its use: [`unfinished_bytes`](crate::ServerContainer::unfinished_bytes).
            pub fn receive_budget(mut self, bytes: usize) -> Self {
                self.session_settings().receive_budget = bytes;
                self
            }

            /// Maximum number of bytes in the send queues of all sessions together. Default: 1 GiB.
            ///
            /// [`send_queue`](Self::send_queue) bounds one session, which does not protect against a thousand slow
            /// peers. Beyond the budget a message for a session whose queue does not drain is treated as if that queue
            /// were full: the [`Overflow`](crate::Overflow) policy applies. A message that is alone in its queue
            /// passes, and so do up to 64 KiB that a reading peer is about to take. If a peer does not read its
            /// replies, the container stops reading from it. A server reports its use:
            /// [`queued_bytes`](crate::ServerContainer::queued_bytes).
            pub fn send_budget(mut self, bytes: usize) -> Self {
                self.session_settings().send_budget = bytes;
                self
            }

            /// Provides a value for handlers that take a [`State<T>`](crate::State), and for
            /// [`Session::state`](crate::Session::state). There is one value of each type: a second one is a
            /// configuration error.
            pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
                let settings = self.session_settings();
                settings.mistakes.extend(settings.states.insert(value).err());
                self
            }
        }
    };
}
pub(crate) use session_setters;

/// The setters of [`RequestSettings`], and of what only servers set for their sessions, for the builder of a server or a
/// container. The builder has a method `request_settings` as well.
macro_rules! request_setters {
    ($builder:ty) => {
        /// Options of requests, and of the sessions of a server.
        impl $builder {
            /// Prefix of the paths of all endpoints, such as `/websocket`. Default: none.
            pub fn context_path(mut self, path: impl Into<String>) -> Self {
                let option = &mut self.request_settings().context_path;
                let set = $crate::container::options::set_once(option, path.into(), "the context path");
                self.session_settings().mistakes.extend(set.err());
                self
            }

            /// Whether a slash at the end of a path is significant. Default: it is.
            pub fn trailing_slash(mut self, policy: $crate::handshake::router::TrailingSlash) -> Self {
                self.request_settings().trailing_slash = policy;
                self
            }

            /// Admits only requests for these hosts, whatever their `Origin`: `example.org` with any port,
            /// `example.org:8443` with this port, `*.example.org` for all subdomains but not the domain itself,
            /// `127.0.0.1` or `[::1]`. `*` is every host.
            ///
            /// This protects against DNS rebinding: an attacker can make their own domain name resolve to this server,
            /// and a page of that name then has the same origin. By default a [`Server`](crate::Server) bound to a
            /// loopback address, which the pages a developer visits could reach in this way, admits only IP addresses,
            /// `localhost` and names below it. So a server behind a proxy on the same machine must list its public name
            /// here. A server bound to any other address admits every host by default, and so does a container without
            /// its own listener: behind another HTTP server, or in the test kit.
            ///
            /// A request for another host is refused with 421 (RFC 9110 §15.5.20) and a sentence that names the host
            /// and this option. This includes requests for the [`fallback`](crate::ServerBuilder::fallback) of a
            /// `Server`, because a rebound page can read the response. Calls add up.
            pub fn allowed_hosts<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, hosts: I) -> Self {
                self.request_settings().add_hosts(hosts);
                self
            }

            /// Admits only pages of these origins, such as `https://example.org` or `https://*.example.org`. Calls add
            /// up.
            ///
            /// By default a page is admitted if its origin is the one that it connects to, which protects against
            /// cross-site WebSocket hijacking. Clients other than browsers send no origin and are always admitted.
            pub fn allowed_origins<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, origins: I) -> Self {
                self.request_settings().add_origins(origins);
                self
            }

            /// Sets the origin policy; [`Origins::any`](crate::Origins::any) admits every page. Excludes
            /// [`allowed_origins`](Self::allowed_origins).
            pub fn origins(mut self, origins: $crate::handshake::origins::Origins) -> Self {
                let policy = &mut self.request_settings().origin_policy;
                let set = $crate::container::options::set_once(policy, origins, "the origin policy (`origins`)");
                self.session_settings().mistakes.extend(set.err());
                self
            }

            /// Maximum size of a request head, in bytes: the request line and all headers. A session keeps its head
            /// until it ends, so this bounds the memory that an anonymous peer can occupy. Default: 16 KiB.
            ///
            /// A larger head is refused with 431 (RFC 6585 §5) and a sentence that names this option.
            /// [`Server`](crate::Server) stops reading at twice the size, or at 8 KiB more if that is larger, and then
            /// answers 431 without the sentence; the same limits apply to requests for its fallback. Another HTTP
            /// server has its own limit for reading.
            pub fn max_request_head(mut self, bytes: usize) -> Self {
                self.request_settings().head_limits.bytes = bytes;
                self
            }

            /// Maximum number of headers of a request; repeated headers count each. Default: 64.
            ///
            /// A request with more is refused as by [`max_request_head`](Self::max_request_head);
            /// [`Server`](crate::Server) answers 431 without the sentence beyond one and a half times the limit. It
            /// accepts at most 16,384 headers.
            pub fn max_request_headers(mut self, headers: usize) -> Self {
                self.request_settings().head_limits.headers = headers;
                self
            }

            /// Adds a hook to the handshake of every endpoint of the container: annotated, added with
            /// `add_endpoint`, upgraded by hand or adopted. Default: none.
            ///
            /// It runs after the request has passed every check of the container and the endpoint, and before the
            /// endpoint's [`modify_handshake`](crate::Configurator::modify_handshake) and its
            /// [roles](crate::Principal::has_role). It sees the [states](crate::HandshakeRequest::state) and what the
            /// layers in front left in the [extensions](crate::HandshakeRequest::extensions), and can do what
            /// `modify_handshake` can: add headers and properties, set the principal, refuse. Several hooks run one
            /// after another in the order in which they were added, with one response; the first refusal ends the
            /// handshake. Requests for a [`fallback`](crate::ServerBuilder::fallback) reach no hook.
            ///
            /// ```no_run
            /// use endpoint_runtime::prelude::*;
            /// use endpoint_runtime::{HandshakeResponse, Principal};
            ///
            /// /// The open logins, shared with the handlers.
            /// struct Logins;
            ///
            /// impl Logins {
            ///     async fn user(&self, key: &str) -> Option<User> {
            ///         (key == "secret").then(|| User("ann"))
            ///     }
            /// }
            ///
            /// struct User(&'static str);
            ///
            /// impl Principal for User {
            ///     fn name(&self) -> &str {
            ///         self.0
            ///     }
            /// }
            ///
            /// async fn login(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
            ///     let logins = request.state::<Logins>().expect("it is set below");
            ///     let key = request.cookie("login").ok_or_else(Refusal::unauthenticated)?;
            ///     response.set_principal(logins.user(key).await.ok_or_else(Refusal::unauthenticated)?);
            ///     Ok(())
            /// }
            ///
            /// # fn main() -> Result<(), Error> {
            /// let container = ServerContainer::builder().discover().state(Logins).handshake(login).build()?;
            /// # Ok(()) }
            /// ```
            pub fn handshake(mut self, hook: impl $crate::container::handshake_hook::HandshakeHook) -> Self {
                self.request_settings().hooks.add(hook);
                self
            }

            /// Maximum time for all [handshake hooks](Self::handshake) and a configurator's
            /// [`modify_handshake`](crate::Configurator::modify_handshake) together; after it the handshake is refused
            /// with 503. Default: 30 seconds.
            pub fn handshake_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.request_settings().handshake_timeout = timeout;
                self
            }

            /// Connects the container with others, on this machine or elsewhere: rooms, users and presence then reach
            /// over all of them, through an engine such as Redis or NATS. Handlers do not change. An engine alone is
            /// enough; [`Cluster`](crate::cluster::Cluster) has further settings. All nodes should mount the same
            /// endpoints.
            ///
            /// The container must be built inside a tokio runtime, and connects from then on. An engine that cannot be
            /// reached is no error: local sessions are served, and
            /// [`health`](crate::ServerContainer::health) is degraded. Default: no cluster.
            pub fn cluster(mut self, cluster: impl Into<$crate::cluster::Cluster>) -> Self {
                let set = $crate::container::options::set_once(
                    &mut self.request_settings().cluster,
                    cluster.into(),
                    "`cluster`",
                );
                self.session_settings().mistakes.extend(set.err());
                self
            }

            /// Policy for a message that finds the send queue full. Default: [`Overflow::Wait`](crate::Overflow::Wait)
            /// for the basic remote, [`Overflow::Error`](crate::Overflow::Error) for the async remote and broadcasts.
            pub fn overflow(mut self, overflow: $crate::config::Overflow) -> Self {
                self.session_settings().limits.overflow = Some(overflow);
                self
            }
        }
    };
}
pub(crate) use request_setters;
