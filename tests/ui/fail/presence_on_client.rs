use endpoint_runtime::prelude::*;

#[client_endpoint(presence(grace = "15s"))]
struct Present;

#[client_endpoint]
struct Bot;

impl Bot {
    #[on_presence]
    fn changed(&mut self, _change: Presence) {}
}

fn main() {}
