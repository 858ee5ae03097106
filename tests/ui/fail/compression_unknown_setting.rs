use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", compression = on(treshold = 512))]
struct Chat;

fn main() {}
