use endpoint_runtime::Configurator;
use endpoint_runtime::prelude::*;

struct Door(u8);

impl Configurator<Chat> for Door {}

#[server_endpoint("/chat", configurator = Door)]
#[derive(Default)]
struct Chat;

fn main() {}
