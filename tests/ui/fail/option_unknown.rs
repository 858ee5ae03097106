use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", idle_timout = "60s")]
struct Chat;

fn main() {}
