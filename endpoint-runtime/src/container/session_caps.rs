//! The places of sessions: taken when a handshake is accepted, given back when the connection has ended.

use std::net::SocketAddr;
use std::sync::Arc;

use super::mounted::Mounted;
use super::service::Inner;
use crate::config::SESSIONS_RETRY_AFTER;
use crate::handshake::refusal::Refusal;
use crate::limits::sessions::{Full, Places, SessionCounts};
use crate::session::principal::Identity;

impl Inner {
    /// Takes the places of a session of this client, or refuses its handshake: before hooks run and anything is made.
    pub(super) fn enter(&self, mounted: &Mounted, client: Option<SocketAddr>) -> Result<Places, Refusal> {
        let mut places = Places::default();
        let address = client.map(|client| client.ip());
        self.take(mounted, |counts| counts.enter(address, &mut places))?;
        Ok(places)
    }

    /// Takes the places of a session of this principal, which the hooks may have set, or refuses its handshake.
    pub(super) fn enter_as(
        &self,
        mounted: &Mounted,
        identity: Option<&Identity>,
        places: &mut Places,
    ) -> Result<(), Refusal> {
        let Some(identity) = identity else { return Ok(()) };
        self.take(mounted, |counts| counts.enter_as(identity.name(), places))
    }

    /// Calls `take` with the counts of the endpoint and of the container that have caps.
    fn take(
        &self,
        mounted: &Mounted,
        mut take: impl FnMut(&Arc<SessionCounts>) -> Result<(), Full>,
    ) -> Result<(), Refusal> {
        for counts in mounted.counts.iter().chain(&self.ground.counts) {
            take(counts).map_err(|full| {
                mounted.sessions.counters.refused.add(1);
                match full {
                    Full::Total(most) => Refusal::too_many_sessions(most, SESSIONS_RETRY_AFTER),
                    Full::Address(most) => Refusal::too_many_sessions_of_address(most, SESSIONS_RETRY_AFTER),
                    Full::Principal(most) => Refusal::too_many_sessions_of_principal(most, SESSIONS_RETRY_AFTER),
                }
            })?;
        }
        Ok(())
    }
}
