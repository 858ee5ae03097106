use endpoint_runtime::prelude::*;

#[server_endpoint("/files/{*rest}")]
struct Chat;

fn main() {}
