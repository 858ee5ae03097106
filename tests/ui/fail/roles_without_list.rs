use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", roles = "admin")]
#[derive(Default)]
struct Chat;

fn main() {}
