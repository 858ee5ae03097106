//! Every return type of a handler, in an ordinary `fn` and in an `async fn`.
#![deny(warnings)]

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Encode, Message};

struct Point(i32, i32);

impl Encode for Point {
    fn encode(&self) -> Result<Message, Error> {
        Ok(format!("{},{}", self.0, self.1).into())
    }
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

macro_rules! replies {
    ($($type:ty = $value:expr),* $(,)?) => {$(
        const _: () = {
            #[server_endpoint("/now")]
            struct Now;
            impl Now {
                #[on_message]
                fn reply(&self, _text: &str) -> $type {
                    $value
                }
            }

            #[server_endpoint("/later")]
            struct Later;
            impl Later {
                #[on_message]
                async fn reply(&self, _text: &str) -> $type {
                    std::future::ready(()).await;
                    $value
                }
            }
        };
    )*};
}

replies! {
    () = (),
    String = String::new(), &'static str = "", Text = Text::new(),
    Vec<u8> = vec![], &'static [u8] = &[], [u8; 2] = [1, 2], Bytes = Bytes::new(), Binary = Binary::new(),
    i32 = -1, u128 = 1, f64 = 0.5, bool = true, char = 'x',
    Json<(u8, &'static str)> = Json((1, "x")), Option<Json<Vec<u8>>> = None, &'static Json<u8> = &Json(1),
    Point = Point(1, 2), Result<Option<Point>, Error> = Ok(None),
    Option<String> = None, Option<()> = None,
    Result<(), Error> = Ok(()),
    Result<Option<u8>, std::io::Error> = Ok(None),
    Result<String, String> = Err(String::new()),
    Result<String, Boxed> = Ok(String::new()),
    Result<String, Box<dyn std::error::Error + Send + Sync>> = Ok(String::new()),
    Option<Result<u8, std::fmt::Error>> = None,
}

#[server_endpoint("/borrowed")]
#[derive(Default)]
struct Borrowed {
    name: String,
}

impl Borrowed {
    #[on_open]
    fn open(&self) -> Result<(), std::num::ParseIntError> {
        Ok(())
    }
    #[on_message]
    fn own(&self, _text: &str) -> &str {
        &self.name
    }
    #[on_message]
    async fn own_later(&self, _data: &[u8]) -> Option<&str> {
        Some(&self.name)
    }
    #[on_close]
    async fn close(&self) -> Result<(), String> {
        Ok(())
    }
    #[on_error]
    fn failed(&self, error: Error) -> Result<(), Error> {
        Err(error)
    }
}

#[server_endpoint("/impl")]
struct Impl;

impl Impl {
    #[on_message]
    fn reply(&self, _text: &str) -> Result<Option<String>, impl Into<Boxed> + use<>> {
        Err("no")
    }
}

fn main() {}
