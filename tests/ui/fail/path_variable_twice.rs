use endpoint_runtime::prelude::*;

#[server_endpoint("/{a}/{b}/{a}")]
struct Chat;

fn main() {}
