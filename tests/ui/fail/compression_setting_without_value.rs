use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(context_takeover))]
struct Chat;

fn main() {}
