use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(level = 1, level = 2))]
struct Chat;

fn main() {}
