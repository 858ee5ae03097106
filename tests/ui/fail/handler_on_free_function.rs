use endpoint_runtime::prelude::*;

#[on_open]
async fn open(_session: &Session) {}

fn main() {}
