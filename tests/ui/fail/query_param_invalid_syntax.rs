use endpoint_runtime::prelude::*;

type Pair = (u8, u8);

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[query_param(page)] _a: u8, #[query_param] (_b, _c): Pair, #[query_param = "d"] _d: u8) {}
}

fn main() {}
