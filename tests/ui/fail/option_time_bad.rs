use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", ping_interval = "half an hour")]
struct Chat;

fn main() {}
