use endpoint_runtime::prelude::*;

#[server_endpoint("/caf%C3%A9")]
struct Chat;

fn main() {}
