use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", idle_timeout = "0s")]
struct Chat;

fn main() {}
