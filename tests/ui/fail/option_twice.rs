use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", idle_timeout = "60s", idle_timeout = off)]
struct Chat;

fn main() {}
