//! What is counted for [`ServerContainer::stats`](crate::ServerContainer::stats) and for metrics. Each event is counted once,
//! where it is decided; a new count is one line here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Kind};

/// A counter, or a gauge where `sub` is called.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident, $(#[$counts_doc:meta])* $counts:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: Counter,)*
        }

        $(#[$counts_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $counts {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $counts {
            /// The names of the counts, and their values.
            #[allow(dead_code)]
            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }

        impl $name {
            /// The counts now.
            pub(crate) fn now(&self) -> $counts {
                $counts { $($field: self.$field.get(),)* }
            }
        }
    };
}

counters! {
    /// The counts of a server's connections, before a request is read.
    ConnectionCounters,
    /// Counts of a server's connections since its start, and of those that are open.
    ConnectionCounts {
        /// Connections that the listeners accepted, with those that were then refused.
        accepted,
        /// Connections that were closed because of a limit: of all, of one address, or of those without a request.
        refused,
        /// Connections that were closed because the header of the PROXY protocol was missing, invalid or late.
        bad_proxy_headers,
        /// Connections of the listeners that are open and not sessions: in the TLS handshake, waiting for a request, answering
        /// one, or with streams of HTTP/2.
        http,
    }
}

counters! {
    /// The counts of an endpoint's sessions.
    EndpointCounters,
    /// Counts of an endpoint's sessions since it was mounted.
    EndpointCounts {
        /// Sessions that were opened.
        opened,
        /// Handshakes that were refused because of a cap of sessions.
        refused,
        /// Messages over a rate of the peer: those that were dropped, and those after which the socket was not read for a
        /// time.
        rate_limited,
        /// Messages of a kind that no handler takes; they were dropped.
        unhandled,
        /// Messages that were received whole, and dropped because their session had ended.
        unheard,
        /// Sessions whose peer did not answer a ping in time (`pong_timeout`).
        ping_timeouts,
        /// Sessions without traffic for too long (`idle_timeout`).
        idle_timeouts,
        /// Sessions whose peer read nothing, or too little, for too long (`send_timeout`, `min_send_rate`).
        send_timeouts,
        /// Sessions whose principal expired.
        expired,
    }
}

counters! {
    /// The counts of an endpoint's errors, by kind: those that `on_error` gets, or the log if there is none.
    ErrorCounters,
    /// Counts of the errors of an endpoint's handlers and peers since it was mounted, by kind. Each is one call of
    /// `on_error`, if the endpoint has one.
    ErrorCounts {
        /// Errors that handlers returned ([`Error::is_user`](crate::Error::is_user)).
        user,
        /// Handlers that panicked ([`Error::is_panic`](crate::Error::is_panic)).
        panic,
        /// Messages that could not be decoded ([`Error::is_decode`](crate::Error::is_decode)).
        decode,
        /// Replies that could not be encoded ([`Error::is_encode`](crate::Error::is_encode)).
        encode,
        /// Peers that broke the protocol ([`Error::is_protocol`](crate::Error::is_protocol)).
        protocol,
        /// Messages that were too big ([`Error::is_too_big`](crate::Error::is_too_big)).
        too_big,
        /// Messages whose peer lacks a role ([`Error::is_forbidden`](crate::Error::is_forbidden)).
        forbidden,
        /// Messages or handlers that took too long ([`Error::is_timeout`](crate::Error::is_timeout)).
        timeout,
        /// All other errors.
        other,
    }
}

impl ErrorCounters {
    /// Counts an error.
    pub(crate) fn note(&self, error: &Error) {
        let counter = match error.kind() {
            Kind::User => &self.user,
            Kind::Panic => &self.panic,
            Kind::Decode => &self.decode,
            Kind::Encode => &self.encode,
            Kind::Protocol => &self.protocol,
            Kind::TooBig => &self.too_big,
            Kind::Forbidden => &self.forbidden,
            Kind::Timeout => &self.timeout,
            _ => &self.other,
        };
        counter.add(1);
    }
}
