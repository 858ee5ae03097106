use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
struct Chat {
    _shared: std::rc::Rc<u8>,
}

fn main() {}
