//! Data of any depth, in each format, never exhausts a stack of 2 MiB, whatever type reads it; and what was read can be
//! written and dropped there.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use endpoint_runtime::{Binary, Cbor, DecodeBinary, DecodeText, Encode, Event, Json, MessagePack, Protobuf, Text};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Recurses through every shape that serde has.
#[derive(Debug, Serialize, Deserialize)]
pub enum Every {
    Leaf,
    Text(String),
    Newtype(Box<Every>),
    Tuple(u8, Box<Every>),
    Struct { a: Box<Every>, b: Option<Box<Every>> },
    Optional(Option<Box<Every>>),
    Sequence(Vec<Every>),
    Map(BTreeMap<String, Every>),
    Wrapped(Wrapped),
    Pair(Box<(Every, Every)>),
    Internal(Internal),
    Adjacent(Adjacent),
    Untagged(Untagged),
    Flat(Box<Flat>),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Wrapped(Box<Every>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t")]
pub enum Internal {
    A { a: Box<Every> },
    B(Box<Flat>),
    C,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
pub enum Adjacent {
    A(Box<Every>),
    B { b: Vec<Adjacent> },
    C,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Untagged {
    A(u8),
    B(Vec<Untagged>),
    C { a: Box<Untagged> },
    D(BTreeMap<String, Untagged>),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Flat {
    a: Option<Box<Flat>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

/// Has none of the fields that come.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unknown {
    known: Option<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Place {
    #[prost(message, optional, boxed, tag = "1")]
    inside: Option<Box<Place>>,
    #[prost(message, repeated, tag = "2")]
    several: Vec<Place>,
    #[prost(map = "string, message", tag = "3")]
    named: HashMap<String, Place>,
    #[prost(oneof = "Either", tags = "4, 5")]
    either: Option<Either>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Either {
    #[prost(message, tag = "4")]
    Boxed(Box<Place>),
    #[prost(string, tag = "5")]
    Text(String),
}

/// The largest message.
const MOST: usize = 128 << 10;

/// The stack of a thread of tokio.
const STACK: usize = 2 << 20;

/// A byte for the format, one for how often, one for the length of a beginning; then the beginning, and what comes over and
/// over behind it.
pub fn run(input: &[u8]) {
    let [format, times, len, rest @ ..] = input else { return };
    let (beginning, over_and_over) = rest.split_at(usize::from(*len).min(rest.len()));
    let count = over_and_over.len() * usize::from(*times) * usize::from(*times);
    let data: Vec<u8> = beginning.iter().chain(over_and_over.iter().cycle().take(count.min(MOST))).copied().collect();
    let (format, data) = (*format, Binary::from(data));
    let reader = move || read(format, &data);
    thread::Builder::new().stack_size(STACK).spawn(reader).expect("a thread").join().expect("no panic");
}

fn read(format: u8, data: &Binary) {
    macro_rules! each {
        ($form:ident<$($type:ty),*>) => {
            $(if let Ok(value) = $form::<$type>::decode_binary(data.clone()) {
                value.encode().expect("what was read can be written");
            })*
        };
    }
    match format % 4 {
        0 => {
            each!(MessagePack<Every, Internal, Adjacent, Untagged, Flat, Unknown, serde_json::Value>);
            let _ = MessagePack::<IgnoredAny>::decode_binary(data.clone());
        }
        1 => {
            // a number that is none, which CBOR has, is null in a value of JSON: all of it can be written
            each!(Cbor<Every, Internal, Adjacent, Untagged, Flat, Unknown, serde_json::Value>);
            let _ = Cbor::<IgnoredAny>::decode_binary(data.clone());
        }
        2 => {
            each!(Json<Every, Internal, Adjacent, Untagged, Flat, Unknown, serde_json::Value>);
            let _ = Json::<IgnoredAny>::decode_binary(data.clone());
            if let Ok(text) = std::str::from_utf8(data.as_slice()) {
                let _ = Event::<Every>::decode_text(Text::from(text));
                let _ = Event::<serde_json::Value>::decode_text(Text::from(text));
            }
        }
        _ => each!(Protobuf<Place>),
    }
}
