use endpoint_runtime::prelude::*;

#[server_endpoint("/a/{room-id}")]
struct Chat;

fn main() {}
