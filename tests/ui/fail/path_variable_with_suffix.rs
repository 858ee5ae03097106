use endpoint_runtime::prelude::*;

#[server_endpoint("/{a}.do")]
struct Chat;

fn main() {}
