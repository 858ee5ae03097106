use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression(level = 1))]
struct Chat;

fn main() {}
