use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(level = -1))]
struct Chat;

fn main() {}
