//! How deeply may data be nested? No message exhausts the stack, whatever its format and whatever type reads it.

/// The body of the fuzz target, which this file feeds without a fuzzer.
#[path = "../fuzz/src/nesting.rs"]
mod fuzzed;
mod support;

use std::collections::BTreeMap;
use std::thread;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    BinaryDecoder, Cbor, ClientContainer, DecodeBinary, DecodeText, Encode, EndpointConfig, Event, Message,
    MessageHandler, MessagePack, Negotiated, Protobuf, ServerContainer, Text, TextDecoder,
};
use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use support::raw_server::RawServer;
use support::{Client, TestServer, soon};

/// The default of `max_nesting`.
const LEVELS: usize = 128;

/// The stack of a thread of tokio.
const STACK: usize = 2 << 20;

// ---- every shape of serde ----

/// A type that contains itself.
trait Shape: DeserializeOwned + Serialize + Send + 'static {
    /// The levels of data in one level of the type.
    const LEVELS: usize = 1;
    /// Those in the innermost.
    const LEAF: usize = 1;
    fn leaf() -> Self;
    fn around(inside: Self) -> Self;
}

macro_rules! shape {
    ($type:ident, $leaf:expr, |$inside:ident| $around:expr $(, $($const:ident = $levels:literal),*)?) => {
        impl Shape for $type {
            $($(const $const: usize = $levels;)*)?
            fn leaf() -> Self {
                $leaf
            }
            fn around($inside: Self) -> Self {
                $around
            }
        }
    };
}

#[derive(Serialize, Deserialize)]
enum NewtypeVariant {
    Leaf,
    Node(Box<NewtypeVariant>),
}
shape!(NewtypeVariant, Self::Leaf, |inside| Self::Node(inside.into()), LEAF = 0);

#[derive(Serialize, Deserialize)]
enum TupleVariant {
    Leaf,
    Node(u8, Box<TupleVariant>),
}
shape!(TupleVariant, Self::Leaf, |inside| Self::Node(1, inside.into()), LEVELS = 2, LEAF = 0);

#[derive(Serialize, Deserialize)]
enum StructVariant {
    Leaf,
    Node { inside: Box<StructVariant> },
}
shape!(StructVariant, Self::Leaf, |inside| Self::Node { inside: inside.into() }, LEVELS = 2, LEAF = 0);

#[derive(Default, Serialize, Deserialize)]
struct Optional {
    inside: Option<Box<Optional>>,
}
shape!(Optional, Self { inside: None }, |inside| Self { inside: Some(inside.into()) });

#[derive(Serialize, Deserialize)]
struct TupleStruct(u8, Option<Box<TupleStruct>>);
shape!(TupleStruct, Self(1, None), |inside| Self(1, Some(inside.into())));

#[derive(Serialize, Deserialize)]
struct NewtypeSequence(Vec<NewtypeSequence>);
shape!(NewtypeSequence, Self(vec![]), |inside| Self(vec![inside]));

#[derive(Serialize, Deserialize)]
struct NewtypeMap(BTreeMap<String, NewtypeMap>);
shape!(NewtypeMap, Self([].into()), |inside| Self([("a".into(), inside)].into()));

#[derive(Serialize, Deserialize)]
struct Wrapped(Option<Option<Box<(Layer, u8)>>>);
#[derive(Serialize, Deserialize)]
struct Layer(Box<Wrapped>);
shape!(Wrapped, Self(None), |inside| Self(Some(Some(Box::new((Layer(inside.into()), 1))))), LEAF = 0);

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum InternallyTagged {
    Leaf,
    Node { inside: Box<InternallyTagged> },
}
shape!(InternallyTagged, Self::Leaf, |inside| Self::Node { inside: inside.into() });

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "inside")]
enum AdjacentlyTagged {
    Leaf,
    Node(Box<AdjacentlyTagged>),
}
shape!(AdjacentlyTagged, Self::Leaf, |inside| Self::Node(inside.into()));

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Leaf(u8),
    Pair(u8, Box<Untagged>),
    Node { inside: Box<Untagged> },
}
shape!(
    Untagged,
    Self::Leaf(1),
    |inside| match inside {
        Self::Pair(..) => Self::Node { inside: inside.into() },
        _ => Self::Pair(1, inside.into()),
    },
    LEAF = 0
);

#[derive(Serialize, Deserialize)]
struct Flattened {
    name: String,
    #[serde(flatten)]
    rest: Rest,
}
#[derive(Serialize, Deserialize)]
struct Rest {
    inside: Option<Box<Flattened>>,
    #[serde(flatten)]
    others: BTreeMap<String, u8>,
}
shape!(Flattened, flattened(None), |inside| flattened(Some(inside.into())));

fn flattened(inside: Option<Box<Flattened>>) -> Flattened {
    Flattened { name: "a".into(), rest: Rest { inside, others: [].into() } }
}

/// As large as the records of applications are.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wide {
    a: Option<String>,
    b: Vec<u64>,
    c: (f64, f64, f64),
    d: Option<[u64; 4]>,
    e: String,
    f: String,
    g: BTreeMap<String, String>,
    h: Option<u128>,
    i: [u64; 8],
    j: Option<Box<Wide>>,
    k: Vec<Wide>,
}
shape!(Wide, Self::default(), |inside| Self { j: Some(inside.into()), ..Self::default() }, LEAF = 2);

// what no type is read for
shape!(
    Value,
    Value::Null,
    |inside| match inside {
        Value::Array(_) => Value::Object([("a".to_owned(), inside)].into_iter().collect()),
        _ => Value::Array(vec![inside]),
    },
    LEAF = 0
);

/// A type that has nothing of what comes.
#[derive(Deserialize)]
struct Unknown {
    #[allow(dead_code)]
    known: Option<u8>,
}

// ---- the formats ----

trait Format {
    const NAME: &'static str;
    fn write<T: Serialize>(value: T) -> Message;
    fn read<T: DeserializeOwned>(message: Message) -> Result<T, Error>;
}

macro_rules! form {
    ($name:ident, $form:ident, $kind:ident, $decode:ident) => {
        struct $name;
        impl Format for $name {
            const NAME: &'static str = stringify!($name);
            fn write<T: Serialize>(value: T) -> Message {
                $form(value).encode().unwrap()
            }
            fn read<T: DeserializeOwned>(message: Message) -> Result<T, Error> {
                let Message::$kind(data) = message else { panic!("{message:?}") };
                $form::$decode(data).map(|$form(value)| value)
            }
        }
    };
}
form!(JsonText, Json, Text, decode_text);
form!(Packed, MessagePack, Binary, decode_binary);
form!(Concise, Cbor, Binary, decode_binary);

struct Events;
impl Format for Events {
    const NAME: &'static str = "Events";
    fn write<T: Serialize>(value: T) -> Message {
        Event::new("a", value).encode().unwrap()
    }
    fn read<T: DeserializeOwned>(message: Message) -> Result<T, Error> {
        let Message::Text(text) = message else { panic!("{message:?}") };
        Event::decode_text(text).map(|event| event.data)
    }
}

fn nested<T: Shape>(levels: usize) -> T {
    (0..levels).fold(T::leaf(), |inside, _| T::around(inside))
}

/// What comes of a value of so many levels of the type.
fn reads<F: Format, T: Shape>(levels: usize) -> Result<(), Error> {
    F::read::<T>(F::write(nested::<T>(levels))).map(drop)
}

/// What has as many levels as are allowed is read, and what has more is not; `outer` is around all of them.
fn at_the_limit<F: Format, T: Shape>(outer: usize) {
    let name = std::any::type_name::<T>();
    let most = (LEVELS - outer - T::LEAF) / T::LEVELS;
    if let Err(error) = reads::<F, T>(most) {
        panic!("{} of {name} with {most} levels: {error}", F::NAME);
    }
    for more in [most + 1, 2 * most] {
        let error = reads::<F, T>(more).expect_err(name);
        assert!(error.is_decode() && error.to_string().ends_with(TOO_DEEP), "{} of {name}: {error}", F::NAME);
    }
}

/// The end of the error's text.
const TOO_DEEP: &str = "its nesting exceeds 128 levels (`max_nesting`)";

#[test]
fn every_shape_at_the_limit_fits_into_the_stack_of_a_tokio_thread() {
    fn shapes<F: Format>(outer: usize) {
        at_the_limit::<F, NewtypeVariant>(outer);
        at_the_limit::<F, TupleVariant>(outer);
        at_the_limit::<F, StructVariant>(outer);
        at_the_limit::<F, Optional>(outer);
        at_the_limit::<F, TupleStruct>(outer);
        at_the_limit::<F, NewtypeSequence>(outer);
        at_the_limit::<F, NewtypeMap>(outer);
        at_the_limit::<F, Wrapped>(outer);
        at_the_limit::<F, InternallyTagged>(outer);
        at_the_limit::<F, AdjacentlyTagged>(outer);
        at_the_limit::<F, Untagged>(outer);
        at_the_limit::<F, Flattened>(outer);
        at_the_limit::<F, Wide>(outer);
        at_the_limit::<F, Value>(outer);
    }
    on_a_small_stack(|| {
        shapes::<JsonText>(0);
        shapes::<Packed>(0);
        shapes::<Concise>(0);
        shapes::<Events>(1);
    });
}

fn on_a_small_stack(run: fn()) {
    thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap();
}

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let seeds = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/nesting"));
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        fuzzed::run(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 20);
}

/// A few bytes that begin a value in some format, over and over.
fn openings() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 22] = [
        b"\x81\x02",
        b"\x81\xa7Newtype",
        b"\x91",
        b"\x92\x01",
        b"\x81\xa1a",
        b"\xdc\x00\x01",
        b"\xd4\x01\x81",
        b"\xa7Newtype",
        b"\xc0",
        b"\xd8\x20",
        b"\x9f",
        b"\xbf\x61a",
        b"\x7f",
        b"\xa1\x67Newtype",
        b"\x67Newtype",
        b"[",
        b"{\"a\":",
        b"{\"Newtype\":",
        b"\"\\\"",
        b"\x0a\x7f",
        b"\x7b",
        b"\x7b\x7c",
    ];
    let known = proptest::sample::select(known.map(<[u8]>::to_vec).to_vec());
    let any = proptest::collection::vec(any::<u8>(), 1..6);
    proptest::collection::vec(prop_oneof![4 => known, 1 => any], 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn repeated_input_is_an_error_or_a_value(
        format: u8,
        times: u8,
        beginning in openings(),
        over_and_over in openings(),
    ) {
        let head = [format, times, beginning.len() as u8];
        fuzzed::run(&[&head[..], &beginning, &over_and_over].concat());
    }
}

#[test]
fn ignored_fields_count_as_levels() {
    fn unknown<F: Format>(outer: usize) {
        #[derive(Serialize)]
        struct Sent {
            known: u8,
            other: NewtypeSequence,
        }
        let sent = |levels| F::write(Sent { known: 1, other: nested(levels) });
        let most = LEVELS - outer - 2;
        assert_eq!(F::read::<Unknown>(sent(most)).unwrap().known, Some(1), "{}", F::NAME);
        F::read::<IgnoredAny>(sent(most)).unwrap();
        for more in [most + 1, 2 * most] {
            let error = F::read::<Unknown>(sent(more)).err().expect(F::NAME);
            assert!(error.to_string().ends_with(TOO_DEEP), "{error}");
            F::read::<IgnoredAny>(sent(more)).unwrap_err();
        }
    }
    on_a_small_stack(|| {
        unknown::<JsonText>(0);
        unknown::<Packed>(0);
        unknown::<Concise>(0);
        unknown::<Events>(1);
    });
}

#[derive(Clone, PartialEq, prost::Message)]
struct Place {
    #[prost(message, optional, boxed, tag = "1")]
    inside: Option<Box<Place>>,
    #[prost(message, repeated, tag = "2")]
    several: Vec<Place>,
    #[prost(map = "string, message", tag = "3")]
    named: std::collections::HashMap<String, Place>,
    #[prost(oneof = "Either", tags = "4, 5")]
    either: Option<Either>,
    #[prost(string, tag = "6")]
    name: String,
}
#[derive(Clone, PartialEq, prost::Oneof)]
enum Either {
    #[prost(message, tag = "4")]
    Boxed(Box<Place>),
    #[prost(string, tag = "5")]
    Text(String),
}

/// Every way for one message to stand inside of another.
const WAYS: [fn(Place) -> Place; 3] = [
    |inside| Place { inside: Some(inside.into()), ..Place::default() },
    |inside| Place { several: vec![inside], ..Place::default() },
    |inside| Place { either: Some(Either::Boxed(inside.into())), ..Place::default() },
];

fn placed(levels: usize, way: fn(Place) -> Place) -> Vec<u8> {
    let place = (0..levels).fold(Place { name: "a".repeat(300), ..Place::default() }, |inside, _| way(inside));
    prost::Message::encode_to_vec(&place)
}

#[test]
fn messages_of_protocol_buffers_are_read_a_hundred_deep() {
    on_a_small_stack(|| {
        for way in WAYS {
            Protobuf::<Place>::decode_binary(placed(100, way).into()).unwrap();
            for more in [101, 1000] {
                assert!(Protobuf::<Place>::decode_binary(placed(more, way).into()).unwrap_err().is_decode());
            }
        }
        // groups that the type does not have
        for groups in [101, 500_000] {
            let data = [vec![0x7b; groups], vec![0x7c; groups]].concat();
            assert!(Protobuf::<Place>::decode_binary(data.into()).unwrap_err().is_decode());
        }
    });
}

// ---- over a connection ----

/// An endpoint that takes one form.
macro_rules! taker {
    ($name:ident, $path:literal $(, $option:ident = $value:expr)?; ($($attribute:ident)?) $form:ty) => {
        #[server_endpoint($path $(, $option = $value)?)]
        #[derive(Default)]
        struct $name;
        impl $name {
            #[on_message$(($attribute))?]
            fn take(&mut self, value: $form) -> &'static str {
                let _ = value;
                "read"
            }
        }
    };
}
taker!(Trees, "/msgpack"; () MessagePack<NewtypeVariant>);
taker!(Fields, "/fields"; () MessagePack<Unknown>);
taker!(Tags, "/tags"; () Cbor<IgnoredAny>);
taker!(Texts, "/json"; () Json<NewtypeSequence>);
taker!(Buffers, "/protobuf"; () Protobuf<Place>);
taker!(Binaries, "/bytes"; (binary) Json<NewtypeSequence>);
taker!(Shallow, "/shallow", max_nesting = 3; () Json<NewtypeSequence>);
taker!(ShallowPlaces, "/places", max_nesting = 3; () Protobuf<Place>);
taker!(Deep, "/deep", max_nesting = 150; () Json<NewtypeSequence>);
taker!(Own, "/own", max_nesting = 3; (text) Within);

/// A type of the application's that is made of one of ours.
struct Within;
impl DecodeText for Within {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Json::<NewtypeSequence>::decode_text(text).map(|_| Self)
    }
}

#[server_endpoint("/negotiated", subprotocols("json", "msgpack", "cbor"), max_nesting = 3)]
#[derive(Default)]
struct Agreeing;
impl Agreeing {
    #[on_message]
    fn take(&mut self, value: Negotiated<NewtypeSequence>) -> Negotiated<u8> {
        drop(value);
        Negotiated(1)
    }
}

#[server_endpoint("/events", events("a", "b"), max_nesting = 4)]
#[derive(Default)]
struct Happening;
impl Happening {
    #[on_message(event = "a")]
    fn data(&mut self, value: Json<NewtypeSequence>) -> Json<u8> {
        drop(value);
        Json(1)
    }
    #[on_message(event = "b")]
    async fn later(&mut self, value: Event<NewtypeSequence>) -> Json<u8> {
        drop(value);
        Json(1)
    }
}

#[derive(Default)]
struct OfText;
impl TextDecoder for OfText {
    type Object = NewtypeSequence;
    fn decode(&mut self, text: Text) -> Result<NewtypeSequence, Error> {
        Json::decode_text(text).map(Json::into_inner)
    }
}
#[derive(Default)]
struct OfBinary;
impl BinaryDecoder for OfBinary {
    type Object = NewtypeVariant;
    fn decode(&mut self, data: endpoint_runtime::Binary) -> Result<NewtypeVariant, Error> {
        MessagePack::decode_binary(data).map(MessagePack::into_inner)
    }
}

#[server_endpoint("/listed", decoders(OfText, OfBinary), max_nesting = 3)]
#[derive(Default)]
struct Listing;
impl Listing {
    #[on_message(text)]
    fn text(&mut self, _: NewtypeSequence) -> &'static str {
        "read"
    }
    #[on_message(binary)]
    fn binary(&mut self, _: NewtypeVariant) -> &'static str {
        "read"
    }
}

/// What reads nothing until it has added a handler.
struct Adding;
impl endpoint_runtime::Endpoint for Adding {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_: &Session, _: Json<NewtypeSequence>| "read"))?;
        session
            .add_message_handler(MessageHandler::binary_async(|_: &Session, _: Cbor<NewtypeSequence>| async { "read" }))
    }
}

async fn serve() -> TestServer {
    let container = ServerContainer::builder().register::<Trees>().register::<Fields>().register::<Tags>();
    let container = container.register::<Texts>().register::<Buffers>().register::<Binaries>().register::<Shallow>();
    let container = container.register::<ShallowPlaces>().register::<Deep>().register::<Own>().register::<Agreeing>();
    let container = container.register::<Happening>().register::<Listing>();
    TestServer::with(container.add_endpoint_config(EndpointConfig::new("/added", || Adding).max_nesting(3))).await
}

fn arrays(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test]
async fn a_message_that_would_exhaust_the_stack_ends_its_session_with_1007() {
    let server = serve().await;
    let levels = 20_000;
    let rows: [(&str, Vec<u8>); 11] = [
        ("/msgpack", [b"\x81\x01".repeat(levels), vec![0]].concat()),
        ("/msgpack", [b"\x81\xa4Node".repeat(levels), vec![0]].concat()),
        ("/fields", [b"\x91".repeat(levels), vec![0]].concat()),
        ("/fields", [&b"\x81\xa5other"[..], &b"\x91".repeat(400), b"\x90"].concat()),
        ("/fields", [&b"\x81\xa5other"[..], &b"\x81\x01".repeat(levels), b"\x00"].concat()),
        ("/tags", [b"\xc0".repeat(levels), vec![0]].concat()),
        ("/tags", b"\x9f".repeat(levels)),
        ("/tags", b"\xbf\x01".repeat(levels)),
        ("/tags", b"\x7f".repeat(levels)),
        ("/protobuf", [vec![0x7b; levels], vec![0x7c; levels]].concat()),
        ("/bytes", b"[".repeat(levels)),
    ];
    for (path, data) in rows {
        let mut client = server.connect(path).await;
        client.binary(&data).await;
        client.expect_close(1007).await;
    }
    for text in ["[".repeat(levels), arrays(129)] {
        let mut client = server.connect("/json").await;
        client.text(&text).await;
        client.expect_close(1007).await;
    }
    let mut client = server.connect("/json").await;
    client.text(&arrays(128)).await;
    client.expect_text("read").await;
}

/// (path, text with as many levels as the endpoint takes, text with one more)
#[tokio::test]
async fn endpoint_sets_its_own_bound() {
    let server = serve().await;
    let event = |name: &str, levels| format!(r#"{{"event":"{name}","data":{}}}"#, arrays(levels));
    let rows = [
        ("/shallow", arrays(3), arrays(4)),
        ("/deep", arrays(150), arrays(151)),
        ("/own", arrays(3), arrays(4)),
        ("/listed", arrays(3), arrays(4)),
        ("/added", arrays(3), arrays(4)),
        ("/events", event("a", 3), event("a", 4)),
        ("/events", event("b", 3), event("b", 4)),
    ];
    for (path, fits, deeper) in rows {
        let mut client = server.connect(path).await;
        client.text(&fits).await;
        let answer = client.expect(support::TEXT).await;
        assert!(answer == b"read" || answer.ends_with(b"1}"), "{path}: {answer:?}");
        client.text(&deeper).await;
        client.expect_close(1007).await;
    }
    let rows: [(&str, Vec<u8>, Vec<u8>); 3] = [
        ("/listed", b"\x81\x01\x81\x01\x81\x01\x00".to_vec(), b"\x81\x01\x81\x01\x81\x01\x81\x01\x00".to_vec()),
        ("/added", b"\x81\x81\x80".to_vec(), b"\x81\x81\x81\x80".to_vec()),
        ("/places", placed(3, WAYS[0]), placed(4, WAYS[0])),
    ];
    for (path, fits, deeper) in rows {
        let mut client = server.connect(path).await;
        client.binary(&fits).await;
        client.expect_text("read").await;
        client.binary(&deeper).await;
        client.expect_close(1007).await;
    }
}

#[tokio::test]
async fn bound_applies_to_the_negotiated_format() {
    let server = serve().await;
    let rows: [(&str, u8, &[u8], &[u8]); 3] = [
        ("json", support::TEXT, b"[[[]]]", b"[[[[]]]]"),
        ("msgpack", support::BINARY, b"\x91\x91\x90", b"\x91\x91\x91\x90"),
        ("cbor", support::BINARY, b"\x81\x81\x80", b"\x81\x81\x81\x80"),
    ];
    for (subprotocol, kind, fits, deeper) in rows {
        let header = format!("Sec-WebSocket-Protocol: {subprotocol}");
        let mut client = Client::connect_with(server.addr, "/negotiated", &[&header]).await;
        client.send(0x80 | kind, fits).await;
        client.expect(kind).await;
        client.send(0x80 | kind, deeper).await;
        client.expect_close(1007).await;
    }
}

#[tokio::test]
async fn container_sets_the_bound_of_all_its_endpoints() {
    let server =
        TestServer::with(ServerContainer::builder().max_nesting(2).register::<Texts>().register::<Deep>()).await;
    for (path, levels) in [("/json", 2), ("/deep", 150)] {
        let mut client = server.connect(path).await;
        client.text(&arrays(levels)).await;
        client.expect_text("read").await;
        client.text(&arrays(levels + 1)).await;
        client.expect_close(1007).await;
    }
}

#[client_endpoint]
#[derive(Default)]
struct Listener;
impl Listener {
    #[on_message]
    fn text(&mut self, _: Json<NewtypeSequence>) -> &'static str {
        "read"
    }
    #[on_message]
    fn binary(&mut self, _: MessagePack<NewtypeVariant>) -> &'static str {
        "read"
    }
}

#[tokio::test]
async fn a_client_has_the_same_bound() {
    let container = ClientContainer::builder().max_nesting(3).build();
    for (deeper, levels) in [(false, 3), (true, 4), (true, 20_000)] {
        let server = RawServer::bind().await;
        let uri = server.uri("/");
        let connecting = container.connect(Listener, uri.as_str());
        let (mut peer, session) = soon(async { tokio::join!(server.open(), connecting) }).await;
        let _session = session.unwrap();
        peer.binary(&[b"\x81\x01".repeat(levels), vec![0]].concat()).await;
        if deeper {
            peer.expect_close(1007).await;
        } else {
            peer.expect_text("read").await;
            peer.text("[[[[]]]]").await;
            peer.expect_close(1007).await;
        }
    }
}
