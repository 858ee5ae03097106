use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
union Chat {
    _a: u8,
}

fn main() {}
