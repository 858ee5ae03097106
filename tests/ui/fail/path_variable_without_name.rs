use endpoint_runtime::prelude::*;

#[server_endpoint("/a/{}")]
struct Chat;

fn main() {}
