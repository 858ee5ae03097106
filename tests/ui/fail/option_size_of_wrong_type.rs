use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", max_message_size = LIMIT)]
struct Chat;

const LIMIT: &str = "64KiB";

fn main() {}
