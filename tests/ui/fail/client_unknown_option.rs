use endpoint_runtime::client_endpoint;

#[client_endpoint(subprotocol("chat.v2"), origin = "https://example.org", roles("admin"))]
struct Bot;

fn main() {}
