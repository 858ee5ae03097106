use endpoint_runtime::prelude::*;

#[client_endpoint(rate(messages = "20/s"))]
struct A;

fn main() {}
