//! A method keeps its other attributes, and a handler that `#[cfg]` removes is not registered.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

#[server_endpoint("/cfg")]
#[cfg(all())]
#[derive(Default)]
struct Chosen;

#[server_endpoint("/cfg")]
#[cfg(any())]
struct Chosen;

impl Chosen {
    /// Documented.
    #[on_open]
    #[inline]
    #[allow(unused_variables)]
    #[must_use]
    fn open(&self, session: &Session) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(any())]
    #[on_message]
    fn text(&self, text: no::such::Type) {}

    #[on_message]
    #[cfg(all())]
    fn text(&self, #[allow(unused_variables)] text: &str) {}

    #[cfg_attr(all(), on_close)]
    fn close(&self) {}
}

/// The generated call of a handler is not a use of it that a lint reports.
#[server_endpoint("/lints", events("a"))]
#[derive(Default)]
struct Lints;

impl Lints {
    #[on_open]
    #[deprecated]
    #[must_use]
    #[doc(hidden)]
    #[track_caller]
    #[cold]
    fn open(&self) -> Result<(), Error> {
        Ok(())
    }

    #[on_message]
    #[deprecated(note = "write another one")]
    #[inline]
    #[must_use]
    fn text(&self, _text: &str) -> Option<String> {
        None
    }

    #[deprecated]
    #[must_use]
    #[on_message]
    async fn binary(&self, _data: &[u8]) -> Option<String> {
        None
    }

    #[deprecated]
    #[on_message(event = "a")]
    async fn event(&self, _text: Json<String>) {}

    #[on_message]
    #[cfg(any())]
    fn pong(&self, _: no::such::Pong) {}

    #[on_message]
    #[cfg(all())]
    #[expect(unused_variables)]
    fn pong(&self, pong: Pong) {}

    #[on_close]
    #[deprecated]
    async fn close(&self) {}

    #[on_error]
    #[deprecated]
    async fn error(&self, _: &Error) {}
}

const _: () = {
    use endpoint_runtime::__private::EndpointHandlers;
    assert!(<Chosen as EndpointHandlers>::TEXT.exists());
    assert!(<Chosen as EndpointHandlers>::CLOSE.exists());
};

fn main() {}
