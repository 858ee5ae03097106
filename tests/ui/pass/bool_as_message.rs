//! A single `bool` is the message.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

#[server_endpoint("/switch/{which}")]
struct Switch;

impl Switch {
    #[on_message]
    fn toggle(&self, on: bool, _session: &Session, #[path_param] which: bool) -> bool {
        on != which
    }
}

const _: () = {
    use endpoint_runtime::__private::EndpointHandlers;
    assert!(!<Switch as EndpointHandlers>::TEXT.parts);
};

fn main() {}
