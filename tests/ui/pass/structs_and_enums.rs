//! Structs of every form and enums, with and without `Default`.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

#[server_endpoint("/unit")]
#[derive(Default)]
pub struct Unit;

#[server_endpoint("/tuple")]
pub struct Tuple(pub String, u8);

#[derive(Default)]
#[server_endpoint("/named")]
pub(crate) struct Named {
    #[allow(dead_code)]
    value: u8,
}

#[server_endpoint("/enum")]
#[derive(Default)]
pub enum Phase {
    #[default]
    Greeting,
    Talking,
}

#[server_endpoint("/raw")]
#[allow(non_camel_case_types)]
pub struct r#type;

impl Phase {
    #[on_message]
    fn text(&mut self, _text: &str) {
        *self = match self {
            Self::Greeting => Self::Talking,
            Self::Talking => Self::Greeting,
        };
    }
}

impl Tuple {
    #[on_message]
    fn text(&mut self, _text: &str) -> u8 {
        self.1
    }
}

const _: () = {
    use endpoint_runtime::__private::ServerEndpoint;
    assert!(<Unit as ServerEndpoint>::CONSTRUCT.is_some());
    assert!(<Tuple as ServerEndpoint>::CONSTRUCT.is_none());
    assert!(<Named as ServerEndpoint>::CONSTRUCT.is_some());
    assert!(<Phase as ServerEndpoint>::CONSTRUCT.is_some());
};

fn main() {}
