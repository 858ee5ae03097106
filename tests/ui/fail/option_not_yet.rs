use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", configurator = Chat, compression = on)]
struct Chat;

fn main() {}
