use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", subprotocols = ["a", "b"])]
struct Chat;

fn main() {}
