#![deny(warnings)]

mod chat {
    pub(crate) mod endpoint {
        use endpoint_runtime::prelude::*;

        #[server_endpoint("/module/{id}")]
        #[derive(Default)]
        pub(crate) struct InModule;

        impl InModule {
            #[on_message]
            fn text(&self, text: String, #[path_param] id: u8) {
                let _ = (text, id);
            }
        }
    }
}

fn main() {
    use endpoint_runtime::prelude::*;

    const LIMIT: usize = 3;

    #[server_endpoint("/function", max_message_size = 2 * LIMIT)]
    struct InFunction;

    impl InFunction {
        #[on_message(max_size = LIMIT)]
        async fn text(&self, text: String) -> String {
            text
        }
    }

    let _ = (chat::endpoint::InModule, InFunction);
}
