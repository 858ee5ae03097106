use endpoint_runtime::prelude::*;

#[server_endpoint("/files/*")]
struct Chat;

fn main() {}
