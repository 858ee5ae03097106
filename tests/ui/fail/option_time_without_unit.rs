use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", idle_timeout = 60)]
struct Chat;

fn main() {}
