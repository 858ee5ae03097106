//! Shows interceptors what is sent.

use std::sync::{Arc, OnceLock};

use crate::endpoint::dispatch;
use crate::endpoint::interceptor::Interceptors;
use crate::send_queue::{HookVerdict, SendHook};
use crate::session::outgoing::{Outgoing, Verdict};
use crate::session::{Session, WeakSession};
use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::Message;

/// Has the interceptors see what is sent on `session`, which must not have been cloned yet, if one of them wants to.
pub(crate) fn watch(session: Session, interceptors: &Arc<Interceptors>) -> Session {
    if !interceptors.has_outbound() {
        return session;
    }
    let place = Arc::new(OnceLock::new());
    let hook = Outbound { interceptors: interceptors.clone(), session: place.clone() };
    let session = session.with_send_hook(Box::new(hook));
    // the session is new, so its place is empty
    let _ = place.set(session.downgrade());
    session
}

/// Shows what is sent on one session to its interceptors.
struct Outbound {
    interceptors: Arc<Interceptors>,
    /// Set when the session exists. Weak, because the session owns this.
    session: Arc<OnceLock<WeakSession>>,
}

impl SendHook for Outbound {
    fn decide(&self, opcode: OpCode, payload: &[u8]) -> HookVerdict {
        let Some(session) = self.session.get().and_then(WeakSession::upgrade) else { return HookVerdict::Send };
        dispatch::caught(|| Ok(self.decide_for(&session, opcode, payload))).unwrap_or_else(|error| {
            if let Some(not_logged) = session.open_set().log.panics.due() {
                let endpoint = session.open_set().name;
                tracing::error!(%error, not_logged, endpoint, session = %session.id(), "an outbound interceptor panicked");
            }
            let reason = CloseReason::truncating(CloseCode::UnexpectedCondition, "internal error");
            session.close_with(reason);
            HookVerdict::Refuse
        })
    }
}

impl Outbound {
    /// Asks the interceptors in reverse order: the outermost is nearest to the peer.
    fn decide_for(&self, session: &Session, opcode: OpCode, payload: &[u8]) -> HookVerdict {
        let mut replaced = None;
        for interceptor in self.interceptors.as_slice().iter().rev().filter_map(|interceptor| interceptor.outbound()) {
            let (opcode, payload) = match &replaced {
                None => (opcode, payload),
                Some(Message::Text(text)) => (OpCode::Text, text.as_bytes()),
                Some(Message::Binary(data)) => (OpCode::Binary, &data[..]),
            };
            match interceptor.outgoing(&Outgoing::new(session, opcode, payload)) {
                Verdict::Send => {}
                Verdict::Replace(message) => replaced = Some(message),
                Verdict::Drop => return HookVerdict::Drop,
                Verdict::Refuse => return HookVerdict::Refuse,
            }
        }
        replaced.map_or(HookVerdict::Send, HookVerdict::Replace)
    }
}
