use endpoint_runtime::client_endpoint;

#[client_endpoint("/chat")]
struct Bot;

fn main() {}
