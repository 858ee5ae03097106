use endpoint_runtime::prelude::*;

#[server_endpoint("/a", rate(then = drop))]
struct A;

fn main() {}
