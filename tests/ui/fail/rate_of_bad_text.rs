use endpoint_runtime::prelude::*;

#[server_endpoint("/a", rate(messages = "20 per second", bytes = "64/s", then = slow))]
struct A;

fn main() {}
