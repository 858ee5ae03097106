//! How many sessions may be open: in all, of one address, and of one principal. An endpoint and its container count apart.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::counted;
use super::counts::{Counted, Counts};

/// The maximum numbers of open sessions; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionCaps {
    pub(crate) total: Option<usize>,
    pub(crate) per_address: Option<usize>,
    pub(crate) per_principal: Option<usize>,
}

/// The cap that is reached, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total(usize),
    Address(usize),
    Principal(usize),
}

/// The sessions that count for the caps of an endpoint or a container.
#[derive(Debug)]
pub(crate) struct SessionCounts {
    caps: SessionCaps,
    ipv6_prefix: u8,
    total: Arc<Counts<()>>,
    addresses: Arc<Counts<IpAddr>>,
    principals: Arc<Counts<Arc<str>>>,
}

impl SessionCounts {
    /// `None` if nothing is limited, so that nothing is counted.
    pub(crate) fn new(caps: SessionCaps, ipv6_prefix: u8) -> Option<Arc<Self>> {
        let counts = || {
            let (total, addresses, principals) = <_>::default();
            Arc::new(Self { caps, ipv6_prefix, total, addresses, principals })
        };
        (caps != SessionCaps::default()).then(counts)
    }

    /// Takes the places of a session from this address, before its principal is known.
    pub(crate) fn enter(&self, address: Option<IpAddr>, places: &mut Places) -> Result<(), Full> {
        if let Some(most) = self.caps.total {
            let place = self.total.acquire((), most).ok_or(Full::Total(most))?;
            places.taken().total.push(place);
        }
        if let (Some(most), Some(address)) = (self.caps.per_address, address) {
            let address = counted(address, self.ipv6_prefix);
            let place = self.addresses.acquire(address, most).ok_or(Full::Address(most))?;
            places.taken().addresses.push(place);
        }
        Ok(())
    }

    /// Takes the place of a session of the principal with this name.
    pub(crate) fn enter_as(&self, principal: &Arc<str>, places: &mut Places) -> Result<(), Full> {
        if let Some(most) = self.caps.per_principal {
            let place = self.principals.acquire(principal.clone(), most).ok_or(Full::Principal(most))?;
            places.taken().principals.push(place);
        }
        Ok(())
    }
}

/// The places that a session takes; given back on drop. Without caps it allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Places(Option<Box<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    total: Vec<Counted<()>>,
    addresses: Vec<Counted<IpAddr>>,
    principals: Vec<Counted<Arc<str>>>,
}

impl Places {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn taken(&mut self) -> &mut Taken {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(total: Option<usize>, per_address: Option<usize>, per_principal: Option<usize>) -> Arc<SessionCounts> {
        SessionCounts::new(SessionCaps { total, per_address, per_principal }, 64).unwrap()
    }

    fn enter(counts: &SessionCounts, address: &str) -> Result<Places, Full> {
        let mut places = Places::default();
        counts.enter(address.parse().ok(), &mut places).map(|()| places)
    }

    #[test]
    fn nothing_is_counted_without_caps() {
        assert!(SessionCounts::new(SessionCaps::default(), 64).is_none());
        let counts = counts(None, None, Some(1));
        assert!(enter(&counts, "::1").unwrap().is_empty());
    }

    #[test]
    fn each_cap_is_its_own_and_places_come_back() {
        let counts = counts(Some(3), Some(2), Some(1));
        let first = enter(&counts, "2001:db8::1").unwrap();
        let second = enter(&counts, "2001:db8::2").unwrap();
        assert_eq!(enter(&counts, "2001:db8::3").unwrap_err(), Full::Address(2));
        // what the refused session had taken came back
        let mut third = enter(&counts, "2001:db8:0:1::1").unwrap();
        assert_eq!(enter(&counts, "192.0.2.1").unwrap_err(), Full::Total(3));
        counts.enter_as(&"ann".into(), &mut third).unwrap();
        let mut fourth = Places::default();
        assert_eq!(counts.enter_as(&"ann".into(), &mut fourth), Err(Full::Principal(1)));
        counts.enter_as(&"ben".into(), &mut fourth).unwrap();
        drop((first, second, third, fourth));
        assert!((0..3).filter_map(|_| enter(&counts, "").ok()).count() == 3);
        let all: Vec<_> = (0..4).filter_map(|_| enter(&counts, "").ok()).collect();
        assert_eq!(all.len(), 3);
    }
}
