//! Handlers in several `impl` blocks, some in other modules and in private ones.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

#[server_endpoint("/")]
#[derive(Default)]
pub struct Spread {
    count: usize,
}

impl Spread {
    #[on_open]
    fn open(&mut self) {
        self.count = 1;
    }
}

impl Spread {
    #[on_message]
    fn text(&mut self, text: &str) -> usize {
        self.count + text.len()
    }
}

mod elsewhere {
    use endpoint_runtime::prelude::*;

    mod deeper {
        use endpoint_runtime::prelude::*;

        impl super::super::Spread {
            #[on_close]
            async fn close(&mut self) {
                self.count = 0;
            }
        }
    }

    impl crate::Spread {
        #[on_error]
        fn failed(&self, _error: &Error) {}
    }
}

// All handlers were found: this is what an endpoint without one of them says.
const _: () = {
    use endpoint_runtime::__private::{EndpointHandlers, Mode};
    assert!(<Spread as EndpointHandlers>::OPEN.exists());
    assert!(matches!(<Spread as EndpointHandlers>::TEXT.mode, Mode::Sync));
    assert!(matches!(<Spread as EndpointHandlers>::CLOSE.mode, Mode::Async));
    assert!(<Spread as EndpointHandlers>::ERROR.exists());
    assert!(!<Spread as EndpointHandlers>::PONG.exists());
    assert!(!<Spread as EndpointHandlers>::BINARY.exists());
};

fn main() {}
