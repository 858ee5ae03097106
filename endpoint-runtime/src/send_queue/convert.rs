//! What happens to a message before it is queued, if anything does.

use super::conversion::{Conversion, HookVerdict, SendHook};
use super::item::{QueueItem, frame_of};
use super::queue::SendQueue;
use super::refused::Refused;
use endpoint_wire::deflate::Deflation;

impl SendQueue {
    /// Whether there is a step before a message is queued.
    #[inline]
    pub(crate) fn converts(&self) -> bool {
        self.conversion.is_some()
    }

    /// Whether there is a step before a reply of this size is queued.
    #[inline]
    pub(crate) fn converts_size(&self, size: usize) -> bool {
        self.conversion.as_ref().is_some_and(|conversion| {
            conversion.hook.is_some()
                || conversion.label.is_some()
                || conversion.deflation.as_ref().is_some_and(|deflation| deflation.is_for(size))
        })
    }

    /// The session's compression if it is negotiated, unless a hook must see each message.
    #[inline]
    pub(crate) fn deflation_or_hook(&self) -> Result<Option<&Deflation>, &dyn SendHook> {
        match self.conversion.as_deref() {
            None => Ok(None),
            Some(Conversion { hook: Some(hook), .. }) => Err(&**hook),
            Some(Conversion { deflation, .. }) => Ok(deflation.as_ref()),
        }
    }

    /// Has `hook` see each message. Call it before the queue is shared.
    pub(crate) fn set_hook(&mut self, hook: Box<dyn SendHook>) {
        self.conversion.get_or_insert_default().hook = Some(hook);
    }

    /// Shows a message to the hook, if there is one. Returns the message to queue.
    pub(crate) fn show<'a>(&self, item: QueueItem<'a>) -> Result<QueueItem<'a>, Refused> {
        let Err(hook) = self.deflation_or_hook() else { return Ok(item) };
        let verdict = match &item {
            QueueItem::Borrowed(opcode, payload) => hook.decide(*opcode, payload),
            QueueItem::Shared(opcode, payload) => hook.decide(*opcode, payload),
            // encoded already: it was shown before
            _ => HookVerdict::Send,
        };
        match verdict {
            HookVerdict::Send => Ok(item),
            HookVerdict::Replace(message) => {
                let (opcode, payload) = frame_of(message);
                Ok(QueueItem::Shared(opcode, payload.into()))
            }
            HookVerdict::Drop => Err(Refused::Discarded),
            HookVerdict::Refuse => Err(Refused::Intercepted),
        }
    }
}
