use endpoint_runtime::prelude::*;

#[server_endpoint("/a")]
#[server_endpoint("/b")]
struct Chat;

fn main() {}
