//! Messages on their way to a peer, as interceptors see them.

use std::fmt;

use super::message_handler::MessageKind;
use super::session::Session;
use super::state::State;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::Message;

/// Sees each whole message before it is queued for a session, and decides about it; see
/// [`Interceptor::outbound`](crate::Interceptor::outbound).
///
/// It sees what the application sends with a remote, what a handler returns, and what a broadcast sends: once for each
/// session, so that the decision may depend on the session. It does not see pings, pongs and close frames, messages that are
/// sent in parts or with a writer, nor what the test kit's client sends.
pub trait OutboundInterceptor: Send + Sync {
    /// Decides about one message.
    ///
    /// It runs where the message is sent: in a handler, in another task, or for a reply in the session's own task. So it must
    /// not block, and it must not send on this session. Several calls may run at the same time. A panic ends the session with
    /// 1011, and the message is not sent.
    fn outgoing(&self, message: &Outgoing<'_>) -> Verdict;
}

/// What happens to an outgoing message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It is sent.
    Send,
    /// This message is sent instead. Later interceptors see it.
    Replace(Message),
    /// It is not sent, and its sender sees no error.
    Drop,
    /// It is not sent: the send fails with [`is_refused`](crate::Error::is_refused). For a reply, `on_error` receives the
    /// error.
    Refuse,
}

/// A whole message that is about to be queued for a session.
pub struct Outgoing<'a> {
    session: &'a Session,
    opcode: OpCode,
    payload: &'a [u8],
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(session: &'a Session, opcode: OpCode, payload: &'a [u8]) -> Self {
        Self { session, opcode, payload }
    }

    /// The session that the message is for.
    pub fn session(&self) -> &'a Session {
        self.session
    }

    /// The value that the application shares by [`ContainerBuilder::state`](crate::ContainerBuilder::state).
    pub fn state<T: 'static>(&self) -> Option<&'a State<T>> {
        self.session.state()
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        if self.opcode == OpCode::Text { MessageKind::Text } else { MessageKind::Binary }
    }

    /// Size in bytes, before compression.
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// The text; `None` if the message is binary.
    pub fn text(&self) -> Option<&'a str> {
        (self.opcode == OpCode::Text).then(|| std::str::from_utf8(self.payload).ok()).flatten()
    }

    /// The data of a binary message, or the text in bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.payload
    }
}

/// Without the content, which may be confidential.
impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (session, kind, size) = (self.session.id(), self.kind(), self.size());
        f.debug_struct("Outgoing").field("session", &session).field("kind", &kind).field("size", &size).finish()
    }
}
