use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
async fn chat(_session: Session) {}

fn main() {}
