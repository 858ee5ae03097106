use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", decoders(), encoders)]
struct Chat;

fn main() {}
