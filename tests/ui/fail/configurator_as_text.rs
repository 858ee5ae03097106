use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", configurator = "ChatConfigurator")]
#[derive(Default)]
struct Chat;

fn main() {}
