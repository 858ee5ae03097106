use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", max_nesting = "64")]
struct Chat;

fn main() {}
