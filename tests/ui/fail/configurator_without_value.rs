use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", configurator)]
#[derive(Default)]
struct Chat;

fn main() {}
