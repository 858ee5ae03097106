use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", roles(ADMIN, "ops", "ops"))]
#[derive(Default)]
struct Chat;

fn main() {}
