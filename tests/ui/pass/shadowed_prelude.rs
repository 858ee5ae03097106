//! Generated code compiles where the names of the prelude are shadowed.
#![deny(warnings)]
#![allow(dead_code, unused_macros, non_camel_case_types)]

use endpoint_runtime::{Session, Text, on_close, on_error, on_message, on_open, server_endpoint};

struct Result;
struct Option;
struct Box;
struct Vec;
struct Future;
struct Error;
struct Endpoint;
struct Handler;
struct str;
struct u8;
struct core;
trait Send {}
trait Clone {}
trait Default {}
trait From {}
fn drop() {}
macro_rules! assert {
    () => {};
}
macro_rules! concat {
    () => {};
}
#[allow(non_upper_case_globals)]
const Some: () = ();
#[allow(non_upper_case_globals)]
const Ok: () = ();
#[allow(non_upper_case_globals)]
const None: () = ();
#[allow(non_upper_case_globals)]
const session: () = ();

#[server_endpoint("/chat/{room}", max_message_size = "1KiB", idle_timeout = "1s", ping_interval = off)]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, s: &Session, #[path_param] room: u32) {
        let _ = (s, room);
    }
    #[on_message(max_size = 12)]
    fn text(&self, text: &Text, #[path_param("room")] id: u64) -> i32 {
        let _ = (text, id);
        1
    }
    #[on_message]
    async fn binary(&mut self, data: endpoint_runtime::Binary) {
        let _ = data;
    }
    #[on_close]
    async fn close(&mut self, reason: endpoint_runtime::CloseReason) {
        let _ = reason;
    }
    #[on_error]
    async fn failed(&mut self, error: endpoint_runtime::Error) {
        let _ = error;
    }
}

fn main() {}
