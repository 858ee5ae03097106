//! The steps before a message is queued: interceptors see it, and it is compressed.

use endpoint_wire::deflate::Deflation;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::Message;

/// Sees each message that is about to be queued for a session.
pub(crate) trait SendHook: Send + Sync {
    /// Decides about a message; `opcode` is that of text or of binary data.
    fn decide(&self, opcode: OpCode, payload: &[u8]) -> HookVerdict;
}

/// Decision about a message that is about to be queued.
pub(crate) enum HookVerdict {
    Send,
    Replace(Message),
    Drop,
    Refuse,
}

/// The steps around the queueing of a message of one session. A session without compression, interceptors and a traffic log
/// has none.
#[derive(Default)]
pub(super) struct Conversion {
    pub(super) deflation: Option<Deflation>,
    pub(super) hook: Option<Box<dyn SendHook>>,
    /// The session's name in the traffic log, if its messages are logged.
    pub(super) label: Option<Box<str>>,
}
