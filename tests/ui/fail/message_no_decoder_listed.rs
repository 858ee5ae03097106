use endpoint_runtime::TextDecoder;
use endpoint_runtime::prelude::*;

struct Say;

#[derive(Default)]
struct Numbers;

impl TextDecoder for Numbers {
    type Object = u8;
    fn decode(&mut self, _: Text) -> Result<u8, Error> {
        Ok(1)
    }
}

#[server_endpoint("/chat", decoders(Numbers))]
struct Chat;

impl Chat {
    #[on_message(text)]
    async fn say(&mut self, _say: Say) {}
}

fn main() {}
