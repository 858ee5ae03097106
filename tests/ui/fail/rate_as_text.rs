use endpoint_runtime::prelude::*;

#[server_endpoint("/a", rate = "20/s")]
struct A;

fn main() {}
