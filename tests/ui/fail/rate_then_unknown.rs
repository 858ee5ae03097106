use endpoint_runtime::prelude::*;

#[server_endpoint("/a", rate(messages = "20/s", then = wait))]
struct A;

fn main() {}
