use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", overflow = drop_olest)]
struct Chat;

fn main() {}
