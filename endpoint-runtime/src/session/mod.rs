//! The session API that handlers use: one conversation with one peer, and the other sessions of the same endpoint.

pub(crate) mod anywhere;
pub(crate) mod audience;
pub(crate) mod broadcast;
mod by_id;
mod chunks;
pub(crate) mod completion;
mod endpoint_info;
pub(crate) mod everywhere;
pub(crate) mod excluded;
mod handlers;
pub(crate) mod heard;
mod id;
mod identity;
pub(crate) mod join;
mod lifetime;
mod local_presence;
mod member;
mod membership;
pub(crate) mod message_handler;
mod open_sessions;
mod open_set;
pub(crate) mod outgoing;
pub(crate) mod presence;
pub(crate) mod present;
pub(crate) mod principal;
pub(crate) mod properties;
pub(crate) mod rare;
pub(crate) mod remote;
pub(crate) mod request_state;
pub(crate) mod rooms;
mod send_options;
#[allow(clippy::module_inception)]
mod session;
mod sharded;
mod shared_message;
mod shared_presence;
pub(crate) mod shared_properties;
pub(crate) mod state;
pub(crate) mod stream;
mod weak;
pub(crate) mod writer;

pub use self::endpoint_info::EndpointInfo;
pub use self::id::{InvalidSessionId, SessionId};
pub(crate) use self::membership::OpenGuard;
pub use self::open_sessions::OpenSessions;
pub use self::session::Session;
pub(crate) use self::session::{Groups, MaybeRare, OpenSet, SessionInit};
pub use self::weak::WeakSession;

#[cfg(test)]
pub(crate) mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::*;
    use crate::handshake::path::PathParams;
    use crate::handshake::request::{HandshakeRequest, Transport};

    /// A session of this endpoint without a socket. It is not in the endpoint's open set.
    pub(crate) fn session_of(endpoint: &Arc<OpenSet>) -> Session {
        speaking(endpoint, None)
    }

    /// A session of this endpoint without a socket, with a subprotocol.
    pub(crate) fn speaking(endpoint: &Arc<OpenSet>, subprotocol: Option<String>) -> Session {
        let parts = http::Request::new(()).into_parts().0;
        let request = HandshakeRequest::new(&parts, PathParams::default(), Transport::default());
        let (response, deflation, rare) = <_>::default();
        let subprotocol = subprotocol.map(Cow::Owned);
        Session::new(SessionInit { request, response, subprotocol, deflation, endpoint: endpoint.clone(), rare }, None)
    }
}
