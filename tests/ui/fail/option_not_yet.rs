use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", configurator = Chat)]
struct Chat;

fn main() {}
