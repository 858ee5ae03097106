use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", events("say", "say", 7))]
struct Chat;

#[server_endpoint("/none", events())]
struct None;

fn main() {}
