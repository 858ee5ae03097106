use endpoint_runtime::prelude::*;

#[server_endpoint("")]
struct Chat;

fn main() {}
