use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(threshold = "1k"))]
struct Chat;

fn main() {}
