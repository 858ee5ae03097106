//! Message types of the application, with their kind in the attribute.
#![deny(warnings)]

use endpoint_runtime::prelude::*;
use endpoint_runtime::{DecodeBinary, DecodeText};

struct Say(String);

impl DecodeText for Say {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(Self(text.into()))
    }
}

impl DecodeBinary for Say {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(Self(format!("{data:?}")))
    }
}

type Line = String;

#[server_endpoint("/say")]
struct Now;

impl Now {
    #[on_message(text)]
    fn text(&self, Say(line): Say) -> String {
        line
    }
    #[on_message(binary)]
    fn binary(&self, say: &Say) -> usize {
        say.0.len()
    }
}

#[server_endpoint("/say-later")]
struct Later;

impl Later {
    #[on_message(text, max_size = "1KiB")]
    async fn text(&self, say: &Say) -> String {
        std::future::ready(()).await;
        say.0.clone()
    }
    #[on_message(binary)]
    async fn binary(&self, say: Say) {
        std::future::ready(()).await;
        drop(say);
    }
}

#[server_endpoint("/alias")]
struct Alias;

impl Alias {
    #[on_message(text)]
    fn text(&self, line: Line) -> Line {
        line
    }
}

fn main() {}
