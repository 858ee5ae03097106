use endpoint_runtime::prelude::*;

#[derive(Default)]
struct Say;

#[server_endpoint("/chat", decoders(Say), encoders(Vec<u8>))]
struct Chat;

fn main() {}
