use endpoint_runtime::prelude::*;

#[server_endpoint("/a", max_sessions_per = 20)]
#[derive(Default)]
struct A;

#[server_endpoint("/b", max_sessions_per())]
#[derive(Default)]
struct B;

#[server_endpoint("/c", max_sessions_per(adress = 20))]
#[derive(Default)]
struct C;

#[server_endpoint("/d", max_sessions_per(address = "20"))]
#[derive(Default)]
struct D;

#[server_endpoint("/e", max_sessions_per(address = 20, address = 30))]
#[derive(Default)]
struct E;

fn main() {}
