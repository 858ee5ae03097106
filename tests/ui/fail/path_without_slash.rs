use endpoint_runtime::prelude::*;

#[server_endpoint("chat")]
struct Chat;

fn main() {}
