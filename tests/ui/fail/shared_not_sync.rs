use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", instance = shared)]
#[derive(Default)]
struct Chat {
    _count: std::cell::Cell<u32>,
}

fn main() {}
