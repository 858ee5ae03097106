use endpoint_runtime::server_endpoint;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self) {}

    #[on_message]
    fn text(&self, _text: &str) {}
}

fn main() {}
