use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", max_message_size = 0)]
struct Chat;

fn main() {}
