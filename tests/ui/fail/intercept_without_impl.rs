use endpoint_runtime::prelude::*;

#[derive(Default)]
struct Audit;

#[server_endpoint("/a", intercept(Audit))]
#[derive(Default)]
struct A;

fn main() {}
