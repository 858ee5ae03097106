//! A client endpoint that notes what it hears.

use endpoint_runtime::prelude::*;

use super::Journal;

/// Notes each text message, the length of each binary one, and the close.
#[client_endpoint(max_message_size = "4MiB")]
pub struct Ear(pub Journal);

impl Ear {
    #[on_message]
    fn text(&self, text: String) {
        self.0.note(text);
    }

    #[on_message]
    fn binary(&self, data: &[u8]) {
        self.0.note(format!("{} bytes", data.len()));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {reason}"));
    }
}
