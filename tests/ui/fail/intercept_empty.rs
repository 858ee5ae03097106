use endpoint_runtime::prelude::*;

#[server_endpoint("/a", intercept())]
struct A;

fn main() {}
