//! What is counted for [`ServerContainer::stats`](crate::ServerContainer::stats) and for metrics. Each event is counted once,
//! where it is decided; a new count is one line here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
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
    /// Counts of a server's connections since its start.
    ConnectionCounts {
        /// Connections that the listeners accepted.
        accepted,
        /// Connections that were closed because of a limit: of all, of one address, or of those without a request.
        refused,
        /// Connections that were closed because the header of the PROXY protocol was missing, invalid or late.
        bad_proxy_headers,
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
        /// Messages that exceeded a rate of the peer.
        rate_limited,
    }
}
