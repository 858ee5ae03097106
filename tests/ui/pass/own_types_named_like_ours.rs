//! What the attribute says counts: an own type that is named like one of ours is the message, with or without a listed
//! decoder, by its path or imported.
#![deny(warnings)]

use endpoint_runtime::prelude::*;

mod domain {
    use endpoint_runtime::{Binary, BinaryDecoder, DecodeBinary, DecodeText, Error, Text, TextDecoder};

    macro_rules! own {
        ($($name:ident)*) => {$(
            #[allow(dead_code)]
            pub struct $name(pub String);

            impl DecodeText for $name {
                fn decode_text(text: Text) -> Result<Self, Error> {
                    Ok(Self(text.into()))
                }
            }

            impl DecodeBinary for $name {
                fn decode_binary(data: Binary) -> Result<Self, Error> {
                    Ok(Self(format!("{data:?}")))
                }
            }
        )*};
    }
    own!(Session CloseReason Error2 HandshakeRequest Event Pong Bytes Json TextStream BinaryStream Negotiated Cbor);

    pub mod named {
        use super::Error2;
        pub type Error = Error2;
    }

    pub struct State<T>(pub T);

    impl DecodeText for State<u8> {
        fn decode_text(text: Text) -> Result<Self, Error> {
            Ok(Self(text.len() as u8))
        }
    }

    /// Decoded only by what the endpoint lists.
    pub mod listed {
        pub struct Session(pub usize);
        pub struct Event(pub usize);
        pub struct Text(pub usize);
        pub struct Binary(pub usize);
    }

    #[derive(Default)]
    pub struct SessionDecoder;

    impl TextDecoder for SessionDecoder {
        type Object = listed::Session;
        fn decode(&mut self, text: Text) -> Result<listed::Session, Error> {
            Ok(listed::Session(text.len()))
        }
    }

    #[derive(Default)]
    pub struct EventDecoder;

    impl BinaryDecoder for EventDecoder {
        type Object = listed::Event;
        fn decode(&mut self, data: Binary) -> Result<listed::Event, Error> {
            Ok(listed::Event(data.len()))
        }
    }

    #[derive(Default)]
    pub struct TextInBinary;

    impl BinaryDecoder for TextInBinary {
        type Object = listed::Text;
        fn decode(&mut self, data: Binary) -> Result<listed::Text, Error> {
            Ok(listed::Text(data.len()))
        }
    }

    #[derive(Default)]
    pub struct BinaryInText;

    impl TextDecoder for BinaryInText {
        type Object = listed::Binary;
        fn decode(&mut self, text: Text) -> Result<listed::Binary, Error> {
            Ok(listed::Binary(text.len()))
        }
    }
}

mod by_path {
    use super::*;

    macro_rules! endpoints {
        ($($path:literal $endpoint:ident $($ty:ident)::+;)*) => {$(
            #[server_endpoint($path)]
            struct $endpoint;

            impl $endpoint {
                #[on_message(text)]
                fn text(&mut self, own: $($ty)::+, session: &endpoint_runtime::Session) -> String {
                    format!("{} {}", session.id(), own.0)
                }

                #[on_message(binary)]
                async fn binary(&mut self, #[query_param] page: u8, own: &$($ty)::+, session: &Session) -> String {
                    format!("{} {page} {}", session.id(), own.0)
                }
            }
        )*};
    }
    endpoints! {
        "/1" OfSession domain::Session;
        "/2" OfCloseReason crate::domain::CloseReason;
        "/3" OfError super::domain::named::Error;
        "/4" OfHandshakeRequest domain::HandshakeRequest;
        "/5" OfEvent domain::Event;
        "/6" OfPong domain::Pong;
        "/7" OfBytes domain::Bytes;
        "/8" OfJson domain::Json;
        "/9" OfTextStream domain::TextStream;
        "/10" OfBinaryStream domain::BinaryStream;
        "/11" OfNegotiated domain::Negotiated;
        "/12" OfCbor domain::Cbor;
    }

    #[server_endpoint("/state")]
    struct OfState;

    impl OfState {
        #[on_message(text)]
        fn text(&self, own: domain::State<u8>, _: State<String>) -> u8 {
            own.0
        }
    }
}

mod imported {
    use super::domain::{CloseReason, Event, HandshakeRequest, Json, Pong, Session};
    use endpoint_runtime::{on_close, on_message, on_open, server_endpoint};

    #[server_endpoint("/session")]
    struct OfSession;

    impl OfSession {
        #[on_open]
        fn open(&self, _: &endpoint_runtime::Session) {}

        #[on_message(text)]
        fn text(&self, own: Session, _: &endpoint_runtime::Session) -> String {
            own.0
        }

        #[on_message(binary)]
        async fn binary(&self, own: &Session) -> String {
            own.0.clone()
        }
    }

    #[server_endpoint("/reason")]
    struct OfCloseReason;

    impl OfCloseReason {
        #[on_message(text)]
        fn text(&self, own: CloseReason) -> String {
            own.0
        }

        #[on_message(binary)]
        fn binary(&self, own: &HandshakeRequest) -> usize {
            own.0.len()
        }

        #[on_close]
        fn close(&self, _: endpoint_runtime::CloseReason) {}
    }

    #[server_endpoint("/event")]
    struct OfEvent;

    impl OfEvent {
        #[on_message(text)]
        fn text(&self, own: Event) -> String {
            own.0
        }

        #[on_message(binary)]
        async fn binary(&self, own: Event) -> String {
            own.0
        }
    }

    #[server_endpoint("/pong")]
    struct OfPong;

    impl OfPong {
        #[on_message(text)]
        fn text(&self, own: Pong) -> String {
            own.0
        }

        #[on_message(binary)]
        fn binary(&self, own: Json) -> String {
            own.0
        }

        #[on_message]
        fn pong(&self, _: endpoint_runtime::Pong) {}
    }
}

mod listed {
    use super::domain::listed::{Event, Text};
    use super::domain::{BinaryInText, EventDecoder, SessionDecoder, TextInBinary};
    use super::*;

    #[server_endpoint("/listed", decoders(SessionDecoder, EventDecoder))]
    struct Listed;

    impl Listed {
        #[on_message(text)]
        fn text(&self, own: super::domain::listed::Session, session: Session) -> usize {
            own.0 + session.id().to_string().len()
        }

        #[on_message(binary)]
        async fn binary(&self, own: Event) -> usize {
            own.0
        }
    }

    #[server_endpoint("/crossed", decoders(TextInBinary, BinaryInText))]
    struct Crossed;

    impl Crossed {
        #[on_message(binary)]
        fn binary(&self, own: Text) -> usize {
            own.0
        }

        #[on_message(text)]
        fn text(&self, own: &domain::listed::Binary) -> usize {
            own.0
        }
    }
}

/// An alias of the crate, and a module that exports it.
mod alias {
    use endpoint_runtime as ws;
    use endpoint_runtime::prelude;

    #[ws::server_endpoint("/alias")]
    struct Alias;

    impl Alias {
        #[ws::on_open]
        fn open(&self, _: &ws::Session, _: &prelude::HandshakeRequest, _: ws::State<u8>) {}

        #[ws::on_message]
        fn text(&self, _: ws::Text, _: prelude::Session) {}

        #[ws::on_message]
        async fn binary(&self, _: ws::BinaryStream, _: ws::State<u8>) {}

        #[ws::on_message]
        fn pong(&self, _: ws::Pong) {}

        #[ws::on_close]
        fn close(&self, _: &ws::CloseReason) {}

        #[ws::on_error]
        fn error(&self, _: ws::Error) {}
    }
}

fn main() {}
