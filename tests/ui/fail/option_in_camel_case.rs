use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", maxMessageSize = 4096)]
struct Chat;

fn main() {}
