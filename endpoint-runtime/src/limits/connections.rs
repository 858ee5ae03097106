//! The limits of a server's connections: of all, of those that are pending, and of each address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::address::counted;
use super::bucket::{Bucket, Buckets};
use super::counts::{Counted, Counts};
use super::rate::Rate;
use super::slots::{Slot, Slots};
use crate::config::MAX_PENDING_HANDSHAKES;

/// The limits as they were set; `None` is off.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections: Option<usize>,
    pub(crate) pending: usize,
    pub(crate) per_address: Option<usize>,
    pub(crate) rate: Option<Rate>,
    pub(crate) rate_per_address: Option<Rate>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: None,
            pending: MAX_PENDING_HANDSHAKES,
            per_address: None,
            rate: None,
            rate_per_address: None,
        }
    }
}

/// The limit that a connection exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Connections,
    Pending,
    Rate,
    PerAddress,
    RatePerAddress,
}

impl Exceeded {
    /// Whether the address exceeded it, rather than all together.
    pub(crate) fn is_of_address(self) -> bool {
        matches!(self, Self::PerAddress | Self::RatePerAddress)
    }

    /// The method that sets the limit.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Pending => "max_pending_handshakes",
            Self::Rate => "handshake_rate",
            Self::PerAddress => "max_connections_per_address",
            Self::RatePerAddress => "handshake_rate_per_address",
        }
    }
}

/// The connections of a server, as its limits count them. What is off counts nothing.
#[derive(Debug)]
pub(crate) struct ConnectionCounts {
    connections: Option<Arc<Slots>>,
    pending: Arc<Slots>,
    rate: Option<(Rate, Mutex<Bucket>)>,
    per_address: Option<(usize, Arc<Counts<IpAddr>>)>,
    rate_per_address: Option<Buckets<IpAddr>>,
    ipv6_prefix: u8,
}

impl ConnectionCounts {
    pub(crate) fn new(limits: &ConnectionLimits, ipv6_prefix: u8) -> Self {
        Self {
            connections: limits.connections.map(Slots::new),
            pending: Slots::new(limits.pending),
            rate: limits.rate.map(|rate| (rate, Mutex::default())),
            per_address: limits.per_address.map(|most| (most, Arc::default())),
            rate_per_address: limits.rate_per_address.map(Buckets::new),
            ipv6_prefix,
        }
    }

    /// Whether an address has a limit.
    pub(crate) fn limits_addresses(&self) -> bool {
        self.per_address.is_some() || self.rate_per_address.is_some()
    }

    /// Counts one more connection of all: the place it takes while it is pending, and the one it takes until it ends.
    pub(crate) fn admit(&self) -> Result<(Slot, ConnectionGuard), Exceeded> {
        let pending = self.pending.acquire().ok_or(Exceeded::Pending)?;
        let slot = match &self.connections {
            Some(connections) => Some(connections.acquire().ok_or(Exceeded::Connections)?),
            None => None,
        };
        if let Some((rate, bucket)) = &self.rate {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(rate, 1, Instant::now()).map_err(|_| Exceeded::Rate)?;
        }
        Ok((pending, ConnectionGuard { slot, address: None }))
    }

    /// Counts one more connection of this address.
    pub(crate) fn admit_address(&self, ip: IpAddr) -> Result<Option<Counted<IpAddr>>, Exceeded> {
        if !self.limits_addresses() {
            return Ok(None);
        }
        let key = counted(ip, self.ipv6_prefix);
        let held = match &self.per_address {
            Some((most, counts)) => Some(counts.acquire(key, *most).ok_or(Exceeded::PerAddress)?),
            None => None,
        };
        if let Some(buckets) = &self.rate_per_address {
            buckets.take(key, Instant::now()).map_err(|_| Exceeded::RatePerAddress)?;
        }
        Ok(held)
    }
}

/// Counts a connection until its socket is gone: it travels with the socket, also to the session.
#[derive(Debug, Default)]
pub(crate) struct ConnectionGuard {
    slot: Option<Slot>,
    address: Option<Counted<IpAddr>>,
}

impl ConnectionGuard {
    pub(crate) fn set_address(&mut self, address: Option<Counted<IpAddr>>) {
        self.address = address;
    }

    /// Whether nothing is counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.slot.is_none() && self.address.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_off_counts_nothing() {
        let counts = ConnectionCounts::new(&ConnectionLimits::default(), 64);
        let (_pending, guard) = counts.admit().unwrap();
        assert!(guard.is_empty());
        assert!(counts.admit_address(ip("192.0.2.1")).unwrap().is_none());
    }

    #[test]
    fn refused_connection_leaves_no_count() {
        let limits = ConnectionLimits {
            connections: Some(2),
            pending: 1,
            rate: Some(Rate::per_second(1).burst(2)),
            ..ConnectionLimits::default()
        };
        let counts = ConnectionCounts::new(&limits, 64);
        let (pending, first) = counts.admit().unwrap();
        assert_eq!(counts.admit().unwrap_err(), Exceeded::Pending);
        drop(pending);
        let (pending, second) = counts.admit().unwrap();
        drop(pending);
        assert_eq!(counts.admit().unwrap_err(), Exceeded::Connections);
        drop((first, second));
        assert_eq!(counts.admit().unwrap_err(), Exceeded::Rate);
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let limits = ConnectionLimits { per_address: Some(1), ..ConnectionLimits::default() };
        let counts = ConnectionCounts::new(&limits, 64);
        let first = counts.admit_address(ip("2001:db8::1")).unwrap();
        assert_eq!(counts.admit_address(ip("2001:db8::2")).unwrap_err(), Exceeded::PerAddress);
        assert!(counts.admit_address(ip("2001:db8:0:1::1")).is_ok());
        drop(first);
        assert!(counts.admit_address(ip("2001:db8::2")).is_ok());
    }
}
