use endpoint_runtime::prelude::*;

#[on_message]
struct Chat;

fn main() {}
