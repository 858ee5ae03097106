use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", instance = singleton)]
#[derive(Default)]
struct Chat;

fn main() {}
