use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

trait Talk {
    fn text(&self, text: &str) -> String;
}

impl Talk for Chat {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

fn main() {}
