use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", subprotocols("chat", "chat"))]
struct Chat;

fn main() {}
