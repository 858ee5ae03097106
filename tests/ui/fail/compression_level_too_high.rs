use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(level = 10))]
struct Chat;

fn main() {}
