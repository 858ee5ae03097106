use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
struct Chat;

impl Chat {
    #[on_message(max_total = "4KiB")]
    async fn read(&self, _body: String) {}
}

fn main() {}
