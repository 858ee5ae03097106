use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(level = 6, window_bits = 8))]
struct Chat;

fn main() {}
