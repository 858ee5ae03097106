use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(level = 12, window_bits = "15", threshold = 1, quality = 3))]
struct Chat;

fn main() {}
