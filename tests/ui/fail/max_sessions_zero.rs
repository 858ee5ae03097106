use endpoint_runtime::prelude::*;

#[server_endpoint("/a", max_sessions = 0, max_sessions_per(principal = 0))]
#[derive(Default)]
struct A;

#[client_endpoint(max_sessions = 5)]
#[derive(Default)]
struct B;

fn main() {}
