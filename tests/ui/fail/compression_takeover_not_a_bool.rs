use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(context_takeover = 1))]
struct Chat;

fn main() {}
