use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open(roles("admin"))]
    fn enter(&mut self) {}
}

fn main() {}
