//! Every built-in message type, by value and by reference, in an ordinary `fn` and in an `async fn`.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

macro_rules! payloads {
    ($($type:ty),* $(,)?) => {$(
        const _: () = {
            #[server_endpoint("/now")]
            struct Now;
            impl Now {
                #[on_message]
                fn take(&self, value: $type) {
                    let _ = value;
                }
            }

            #[server_endpoint("/later")]
            struct Later;
            impl Later {
                #[on_message]
                async fn take(&self, value: $type) {
                    std::future::ready(()).await;
                    let _ = value;
                }
            }
        };
    )*};
}

payloads! {
    String, &String, &str, Text, &Text,
    i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64, bool, char, &u32,
    Vec<u8>, &Vec<u8>, &[u8], Bytes, &Bytes, Binary, &Binary, std::vec::Vec<u8>, endpoint_runtime::Bytes,
    Json<Vec<u8>>, &Json<(u8, String)>, endpoint_runtime::Json<Option<bool>>,
    Pong, &Pong,
}

fn main() {}
