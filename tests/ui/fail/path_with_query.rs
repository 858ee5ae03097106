use endpoint_runtime::prelude::*;

#[server_endpoint("/chat?room=1")]
struct Chat;

fn main() {}
