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

const _: () = {
    use endpoint_runtime::__private::EndpointHandlers;
    assert!(<Chosen as EndpointHandlers>::TEXT.exists());
    assert!(<Chosen as EndpointHandlers>::CLOSE.exists());
};

fn main() {}
