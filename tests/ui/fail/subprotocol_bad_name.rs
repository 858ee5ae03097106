use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", subprotocols("chat v2", ""))]
struct Chat;

fn main() {}
