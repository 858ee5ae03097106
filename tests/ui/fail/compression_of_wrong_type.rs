use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = 6 + 1)]
struct Chat;

fn main() {}
