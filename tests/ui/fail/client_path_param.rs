use endpoint_runtime::{client_endpoint, on_open};

#[client_endpoint]
struct Bot;

impl Bot {
    #[on_open]
    fn open(&self, #[path_param] room: Option<String>) {}
}

fn main() {}
