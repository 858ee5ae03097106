//! `last: bool` beside the message: parts as they arrive, in every type that supports parts.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

macro_rules! parts {
    ($($name:ident $asyncness:tt $type:ty),*) => {$(
        const _: () = {
            #[server_endpoint("/parts")]
            struct $name;

            impl $name {
                parts!(@ $asyncness $type);
            }

            use endpoint_runtime::__private::EndpointHandlers;
            assert!(<$name as EndpointHandlers>::TEXT.parts || <$name as EndpointHandlers>::BINARY.parts);
        };
    )*};
    (@ now $type:ty) => {
        #[on_message]
        fn part(&mut self, part: $type, last: bool) -> bool {
            !part.is_empty() && last
        }
    };
    (@ later $type:ty) => {
        #[on_message]
        async fn part(&mut self, last: bool, part: $type) -> bool {
            std::future::ready(()).await;
            !part.is_empty() && last
        }
    };
}

parts! {
    A now &str, B now String, C now Text, D now &Text, E now &[u8], F now Vec<u8>, G now Bytes, H now Binary,
    I later &str, J later String, K later Text, L later &Text, M later &[u8], N later Vec<u8>, O later Bytes, P later &Binary
}

#[server_endpoint("/unused-last")]
struct Unused;

impl Unused {
    #[on_message]
    fn part(&self, _part: &[u8], _last: bool) {}
}

fn main() {}
