use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", decoders(Json))]
struct Chat;

fn main() {}
