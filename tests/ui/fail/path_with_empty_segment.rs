use endpoint_runtime::prelude::*;

#[server_endpoint("/a//b")]
struct Chat;

fn main() {}
