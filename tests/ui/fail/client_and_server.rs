use endpoint_runtime::{client_endpoint, server_endpoint};

#[client_endpoint]
#[server_endpoint("/chat")]
struct Both;

fn main() {}
