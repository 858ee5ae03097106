use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", events("say", "sing", "shout"))]
struct Chat;

impl Chat {
    #[on_message(event = "say", text)]
    fn say(&self, _line: String) {}

    #[on_message(event = "sing", max_size = "1KiB")]
    fn sing(&self, _part: Json<String>, _last: bool) {}

    #[on_message(event)]
    fn shout(&self) {}
}

fn main() {}
