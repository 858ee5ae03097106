//! One instance for all connections, under strict lints.
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unnameable_types)]

use std::sync::atomic::{AtomicUsize, Ordering};

use endpoint_runtime::prelude::*;

/// Counts for all.
#[server_endpoint("/count/{by}", instance = shared)]
#[derive(Debug, Default)]
pub struct Count(AtomicUsize);

impl Count {
    #[on_open]
    async fn open(&self, session: &Session) -> Result<(), Error> {
        session.basic_remote().send_text("welcome").await
    }

    #[on_message]
    fn text(&self, _text: &str, #[path_param] by: usize) -> usize {
        self.0.fetch_add(by, Ordering::Relaxed)
    }

    #[on_message]
    async fn parts(&self, part: Bytes, last: bool) -> Option<usize> {
        last.then(|| self.0.fetch_add(part.len(), Ordering::Relaxed))
    }

    #[on_message]
    fn pong(&self, _pong: Pong) {}

    #[on_error]
    fn failed(&self, _error: &Error) {}
}

fn main() {
    let _ = ServerContainer::builder().register::<Count>().endpoint_shared(Count::default());
}
