use endpoint_runtime::prelude::*;
use endpoint_runtime::TextEncoder;

struct Said;

#[derive(Default)]
struct SaidEncoder;

impl TextEncoder for SaidEncoder {
    type Object = Said;
    fn encode(&mut self, _: &Said) -> Result<Text, Error> {
        Ok("said".into())
    }
}

#[server_endpoint("/chat", encoders(SaidEncoder))]
#[derive(Default)]
struct Chat;

#[server_endpoint("/news", encoders(SaidEncoder))]
#[derive(Default)]
struct News;

fn say(session: &Session) -> Result<(), Error> {
    session.async_remote().send_object(&Said).map(drop)
}

fn main() {}
