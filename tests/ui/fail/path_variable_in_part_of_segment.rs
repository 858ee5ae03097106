use endpoint_runtime::prelude::*;

#[server_endpoint("/a/b{var}")]
struct Chat;

fn main() {}
