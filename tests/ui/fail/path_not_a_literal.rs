use endpoint_runtime::prelude::*;

#[server_endpoint(PATH)]
struct Chat;

const PATH: &str = "/chat";

fn main() {}
