use endpoint_runtime::client_endpoint;

#[client_endpoint]
fn bot() {}

fn main() {}
