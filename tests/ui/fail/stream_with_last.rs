use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
struct Chat;

impl Chat {
    #[on_message]
    async fn read(&self, _body: BinaryStream, _last: bool) {}
}

fn main() {}
