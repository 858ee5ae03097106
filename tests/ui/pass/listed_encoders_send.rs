//! Listing an encoder is enough for `send_object`, whichever remote sends, and whosever the type is.
#![deny(warnings)]

use std::collections::HashMap;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    BinaryEncoder, BinaryStreamEncoder, Encode, Error, Message, Object, TextEncoder, TextStreamEncoder,
};

struct Line(String);
struct Picture;
struct Own;

#[derive(Default)]
struct LineEncoder;

impl TextEncoder for LineEncoder {
    type Object = Line;
    fn encode(&mut self, line: &Line) -> Result<Text, Error> {
        Ok(line.0.clone().into())
    }
}

#[derive(Default)]
struct LineInBinary;

impl BinaryEncoder for LineInBinary {
    type Object = Line;
    fn encode(&mut self, _: &Line) -> Result<Binary, Error> {
        Ok(Binary::new())
    }
}

#[derive(Default)]
struct MapEncoder;

impl TextStreamEncoder for MapEncoder {
    type Object = HashMap<u8, u8>;
    fn encode(&mut self, _: &HashMap<u8, u8>, _: &mut String) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Default)]
struct PictureEncoder;

impl BinaryStreamEncoder for PictureEncoder {
    type Object = Picture;
    fn encode(&mut self, _: &Picture, _: &mut Vec<u8>) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Default)]
struct NumberEncoder;

impl TextEncoder for NumberEncoder {
    type Object = i32;
    fn encode(&mut self, number: &i32) -> Result<Text, Error> {
        Ok(number.to_string().into())
    }
}

#[derive(Default)]
struct OwnEncoder;

impl TextEncoder for OwnEncoder {
    type Object = Own;
    fn encode(&mut self, _: &Own) -> Result<Text, Error> {
        Ok(Text::new())
    }
}

impl Encode for Own {
    fn encode(&self) -> Result<Message, Error> {
        Ok("own".into())
    }

    fn encode_for(&self, context: &endpoint_runtime::EncodeContext<'_>) -> Result<Message, Error> {
        context.encode(self)
    }
}

#[server_endpoint(
    "/chat",
    encoders(LineEncoder, LineInBinary, MapEncoder, crate::PictureEncoder, NumberEncoder, OwnEncoder)
)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message]
    async fn text(&mut self, text: String, session: &Session) -> Result<Line, Error> {
        session.basic_remote().send_object::<_, Self>(&Line(text.clone())).await?;
        session.async_remote().send_object::<_, Chat>(&Picture)?;
        news(session)?;
        session.open_sessions().async_remote().send_object(&HashMap::from([(1, 2)]))?;
        session.room("a").async_remote().send_object(&HashMap::from([(1, 2)]))?;
        // types that encode themselves, listed and not listed
        session.basic_remote().send_object(&5).await?;
        session.basic_remote().send_object(&Own).await?;
        session.basic_remote().send_object("text").await?;
        session.basic_remote().send_object(&text).await?;
        session.basic_remote().send_object(&Json(&[1, 2])).await?;
        tell(session, &Own)?;
        tell_any(session, &HashMap::<u8, u8>::new())?;
        Ok(Line(text))
    }
}

fn tell<T: Encode>(session: &Session, object: &T) -> Result<(), Error> {
    session.async_remote().send_object(object).map(drop)
}

fn tell_any<By>(session: &Session, object: &impl Object<By>) -> Result<(), Error> {
    session.async_remote().send_object(object).map(drop)
}

/// If two endpoints list an encoder for a type, one of them is named.
#[server_endpoint("/news", encoders(LineEncoder, PictureEncoder), instance = shared)]
#[derive(Default)]
struct News;

fn news(session: &Session) -> Result<(), Error> {
    session.async_remote().send_object::<_, News>(&Line("news".into()))?;
    session.async_remote().send_object::<_, Chat>(&Line("news".into()))?;
    session.async_remote().send_object(&HashMap::<u8, u8>::new())?;
    Ok(())
}

/// A second endpoint may list the same encoders for its replies, and those that encode themselves.
#[client_endpoint(encoders(OwnEncoder, NumberEncoder))]
struct Client;

impl Client {
    #[on_message]
    fn text(&self, _text: &str, session: &Session) -> Result<Own, Error> {
        session.async_remote().send_object(&Own)?;
        Ok(Own)
    }
}

fn main() {}
