use endpoint_runtime::prelude::*;

struct Chat;

#[server_endpoint("/chat")]
impl Chat {
    #[allow(dead_code)]
    fn say(&self) {}
}

fn main() {}
