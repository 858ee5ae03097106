use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = true)]
struct Chat;

fn main() {}
