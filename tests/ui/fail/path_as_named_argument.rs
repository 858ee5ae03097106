use endpoint_runtime::prelude::*;

#[server_endpoint(value = "/chat")]
struct Chat;

fn main() {}
