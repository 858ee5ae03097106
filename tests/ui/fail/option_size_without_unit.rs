use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", max_message_size = "65536")]
struct Chat;

fn main() {}
