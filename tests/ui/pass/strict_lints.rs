//! A crate with strict lints compiles without warnings.
#![forbid(unsafe_code, missing_docs, unreachable_pub, missing_debug_implementations, deprecated, unused_imports)]
#![deny(
    warnings,
    unused,
    rust_2018_idioms,
    let_underscore_drop,
    missing_copy_implementations,
    single_use_lifetimes,
    trivial_casts,
    unit_bindings,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    elided_lifetimes_in_paths,
    redundant_lifetimes,
    non_ascii_idents
)]

use endpoint_runtime::prelude::*;

/// An endpoint.
#[server_endpoint("/documented/{id}", idle_timeout = off, subprotocols("a"), max_message_size = 3, ping_interval = "1s", send_timeout = "1s")]
#[derive(Debug, Default, Clone, Copy)]
pub struct Documented;

impl Documented {
    /// Opens.
    #[on_open]
    pub async fn open(&mut self, session: Session) {
        let _session = session;
    }
    /// Echoes.
    #[on_message(max_size = "1KiB")]
    pub fn text(&self, text: &str, #[path_param] id: u32) -> Result<String, Error> {
        let _id = id;
        Ok(text.to_owned())
    }
    #[on_message]
    async fn binary(&self, data: Bytes, last: bool) -> Option<Bytes> {
        last.then_some(data)
    }
    /// Pongs.
    #[on_message]
    pub async fn pong(&self, _pong: Pong) {}
    /// Closes.
    #[on_close]
    pub async fn close(&mut self, _reason: CloseReason) {}
    /// Fails.
    #[on_error]
    pub fn failed(&mut self, _error: &Error) {}
}

mod private {
    use endpoint_runtime::prelude::*;

    #[server_endpoint("/private")]
    #[derive(Debug, Clone, Copy)]
    struct Private;

    impl Private {
        #[on_message]
        fn text(&self, _text: String) {}
        #[on_close]
        fn close(&self) {}
    }
}

fn main() {}
