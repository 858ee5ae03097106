use endpoint_runtime::prelude::*;

struct Away;

#[server_endpoint("/chat", presence)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_presence]
    fn changed(&mut self, _change: Presence<Away>) {}
}

mod other {
    pub struct Presence;
}

#[server_endpoint("/other", presence)]
#[derive(Default)]
struct Other;

impl Other {
    #[on_presence]
    fn changed(&mut self, _change: other::Presence) {}
}

fn main() {}
