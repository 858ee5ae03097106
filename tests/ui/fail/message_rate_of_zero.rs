use endpoint_runtime::prelude::*;

#[server_endpoint("/a")]
#[derive(Default)]
struct A;

impl A {
    #[on_message(rate = "0/s")]
    fn say(&self, _: &str) {}
}

fn main() {}
