use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression)]
struct Chat;

fn main() {}
