//! The attributes of handlers need no import beside the type. An import does not hurt.
#![forbid(unused_imports)]
#![deny(warnings)]

mod beside {
    use endpoint_runtime::server_endpoint;

    #[server_endpoint("/beside")]
    #[derive(Default)]
    pub struct Beside;

    impl Beside {
        #[on_open]
        fn open(&self) {}
    }

    mod below {
        impl super::Beside {
            #[endpoint_runtime::on_close]
            fn close(&self) {}
        }
    }
}

mod by_path {
    impl Later {
        #[on_message]
        fn text(&self, _: &str) {}
    }

    #[endpoint_runtime::client_endpoint]
    pub struct Later;
}

mod attributes {
    pub use endpoint_runtime::on_open;
}

mod imported {
    use endpoint_runtime::{on_error, server_endpoint};

    use crate::attributes::*;

    #[server_endpoint("/imported")]
    #[derive(Default)]
    pub struct Imported;

    impl Imported {
        #[on_open]
        fn open(&self) {}

        #[on_error]
        fn error(&self, _: &endpoint_runtime::Error) {}
    }
}

fn main() {
    let _ = by_path::Later;

    use endpoint_runtime::server_endpoint;

    #[server_endpoint("/inside")]
    #[derive(Default)]
    struct Inside;

    impl Inside {
        #[on_close]
        fn close(&self) {}
    }
}
