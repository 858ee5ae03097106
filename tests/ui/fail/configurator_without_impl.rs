use endpoint_runtime::prelude::*;

#[derive(Default)]
struct Door;

#[server_endpoint("/chat", configurator = Door)]
#[derive(Default)]
struct Chat;

fn main() {}
