//! Endpoints that a `macro_rules!` writes, with types and literals passed in.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

macro_rules! echo {
    ($name:ident, $path:literal, $type:ty, $variable:literal) => {
        #[server_endpoint($path)]
        #[derive(Default)]
        struct $name;

        impl $name {
            #[on_open]
            async fn open(&self, session: &Session, #[path_param] room: String) {
                let _ = (session, room);
            }
            #[on_message]
            fn text(&self, message: $type, #[path_param($variable)] id: u8) -> $type {
                let _ = id;
                message
            }
            #[on_error]
            async fn failed(&self, error: &Error, session: Session) {
                let _ = (error, session);
            }
        }
    };
}

echo!(Strings, "/strings/{room}/{id}", String, "id");
echo!(Bins, "/bytes/{room}/{nr}", Vec<u8>, "nr");

fn main() {}
