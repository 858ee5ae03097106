use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", send_timeout = off)]
struct Chat;

fn main() {}
