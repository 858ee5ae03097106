use endpoint_runtime::TextEncoder;
use endpoint_runtime::prelude::*;

struct Said;

#[derive(Default)]
struct Numbers;

impl TextEncoder for Numbers {
    type Object = u8;
    fn encode(&mut self, _: &u8) -> Result<Text, Error> {
        Ok("one".into())
    }
}

#[server_endpoint("/chat", encoders(Numbers))]
struct Chat;

impl Chat {
    #[on_message]
    fn say(&mut self, _text: &str) -> Option<Said> {
        None
    }

    #[on_message]
    fn listed(&mut self, _data: &[u8]) -> Option<u8> {
        None
    }
}

fn main() {}
