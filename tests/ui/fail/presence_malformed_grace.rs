use endpoint_runtime::prelude::*;

#[server_endpoint("/a", presence(grace = "15"))]
#[derive(Default)]
struct A;

#[server_endpoint("/b", presence(grace = 15))]
#[derive(Default)]
struct B;

#[server_endpoint("/c", presence(graze = "15s"))]
#[derive(Default)]
struct C;

#[server_endpoint("/d", presence(grace))]
#[derive(Default)]
struct D;

#[server_endpoint("/e", presence = "15s")]
#[derive(Default)]
struct E;

#[server_endpoint("/f", presence(grace = "1s", grace = "2s"))]
#[derive(Default)]
struct F;

#[server_endpoint("/g", presence("15s"))]
#[derive(Default)]
struct G;

impl A {
    #[on_presence]
    fn changed(&mut self, _change: Presence) {}
}

fn main() {}
