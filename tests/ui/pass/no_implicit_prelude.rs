#![no_implicit_prelude]
#![deny(warnings)]

use ::endpoint_runtime::{
    Bytes, CloseReason, Error, Pong, Session, on_close, on_error, on_message, on_open, server_endpoint,
};

#[server_endpoint("/a/{b}/{c}", subprotocols("x"), send_timeout = "1m", max_message_size = 1024)]
#[derive(::core::default::Default, ::core::fmt::Debug)]
pub struct Bare;

impl Bare {
    #[on_open]
    async fn open(&self, session: Session, #[path_param] b: &str, #[path_param] c: ::core::option::Option<i8>) {
        let _ = (session, b, c);
    }
    #[on_message]
    async fn text(&mut self, text: ::std::string::String, #[path_param] c: bool) -> ::core::option::Option<char> {
        let _ = (text, c);
        ::core::option::Option::None
    }
    #[on_message]
    fn binary(&self, part: Bytes, last: bool) {
        let _ = (part, last);
    }
    #[on_message]
    fn pong(&self, pong: Pong) {
        let _ = pong;
    }
    #[on_close]
    fn close(&self, reason: CloseReason) {
        let _ = reason;
    }
    #[on_error]
    fn failed(&self, error: &Error) {
        let _ = error;
    }
}

fn main() {}
