use std::future::Future;
use std::pin::Pin;

use endpoint_runtime::prelude::*;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    #[on_message]
    fn text<'a>(&'a self, text: &'a str) -> BoxFuture<'a, String> {
        Box::pin(async move { text.to_owned() })
    }

    #[on_message]
    fn binary(&self, _data: Vec<u8>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}

fn main() {}
