use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn parts(&self, _part: &str, last: bool) {
        let _ = last;
    }

    #[on_message(text)]
    fn whole(&self, _text: Json<u8>) {}
}

fn main() {}
