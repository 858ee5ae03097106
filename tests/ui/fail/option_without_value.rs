use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", idle_timeout)]
struct Chat;

fn main() {}
