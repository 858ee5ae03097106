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

/// The steps before a message of one session is queued. A session without compression and without interceptors has none.
#[derive(Default)]
pub(super) struct Conversion {
    pub(super) deflation: Option<Deflation>,
    pub(super) hook: Option<Box<dyn SendHook>>,
}
