//! The attributes of `endpoint-runtime`. Depend on that crate; it exports them, and what they generate names it.
//!
//! [`macro@server_endpoint`] stands above a type and says where it is served, [`macro@client_endpoint`] above one that
//! connects. [`macro@on_open`], [`macro@on_message`],
//! [`macro@on_close`] and [`macro@on_error`] stand above methods in plain `impl` blocks and say when they are called.
//! The crate must be known as `endpoint_runtime`: a dependency under another name is not supported.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Attribute, DeriveInput, Error, LitStr};

mod diagnostics;
mod expand;
mod options;
mod parse;
mod template;
mod types;
mod validate;

use crate::parse::{EndpointArgs, Kind, Method, Side};

/// Makes a struct or enum a WebSocket endpoint, served under a path.
///
/// ```
/// use endpoint_runtime::prelude::*;
///
/// #[server_endpoint("/chat/{room}", subprotocols("chat.v2", "chat.v1"), max_message_size = "64KiB")]
/// #[derive(Default)]
/// pub struct Chat;
///
/// impl Chat {
///     #[on_message]
///     fn say(&mut self, text: &str, #[path_param] room: &str) -> String {
///         format!("{room}: {text}")
///     }
/// }
/// ```
///
/// Each connection gets an instance of its own, made by `Default` unless the server is given another way. The type is
/// `Send`, has no generics and no lifetimes. With `instance = shared` there is one instance for all connections, made
/// once when the server is built; its handlers take `&self`, and the type is `Sync`.
///
/// # The path
///
/// A string literal that starts with `/`. A variable replaces a whole segment: `/chat/{room}`, not `/chat-{room}`; its
/// name is made of letters, digits and `_`, and stands in the path once. A trailing slash is part of the path: `/a/`
/// and `/a` are two. Segments are written decoded: `/café`, not `/caf%C3%A9`. There are no globs, no `.` or `..`, and
/// no empty segments.
///
/// # Options
///
/// What is not said is as the server has it.
///
/// | Option | Values | Meaning |
/// |---|---|---|
/// | `subprotocols` | `subprotocols("chat.v2", "chat.v1")` | the subprotocols the endpoint speaks |
/// | `decoders` | `decoders(PointDecoder, PictureDecoder)` | coders of yours that make payloads, asked in this order |
/// | `encoders` | `encoders(PointEncoder)` | coders of yours that make messages of what is returned or sent |
/// | `events` | `events("chat.say", "chat.leave")` | the events that have handlers of their own, `#[on_message(event = "chat.say")]` |
/// | `max_message_size` | `"64KiB"`, or an expression of type `usize` | the most bytes of a whole message; more closes with 1009 |
/// | `max_nesting` | `64`, or an expression of type `usize` | how deeply the data of a message may be nested, in levels; more is a decode error |
/// | `idle_timeout` | `"60s"`, an expression of type `Duration`, or `off` | close after this long without a frame |
/// | `ping_interval` | `"30s"`, an expression of type `Duration`, or `off` | send a ping when one of the two sides was silent this long |
/// | `pong_timeout` | `"30s"`, an expression of type `Duration`, or `off` | close when nothing came this long after a ping |
/// | `send_timeout` | `"30s"`, or an expression of type `Duration` | how long a message may wait to be written |
/// | `min_receive_rate` | `"1KiB"` per second, an expression of type `usize`, or `off` | the least that comes of a message that is taken whole |
/// | `min_send_rate` | `"1KiB"` per second, an expression of type `usize`, or `off` | the least that a peer takes while something waits for it |
/// | `compression` | `on`, `on(level = 1, threshold = 512, context_takeover = false, window_bits = 15)`, an expression of type `Compression`, or `off` | whether and how messages are compressed, if the client offers it; not without `on` |
/// | `instance` | `shared`, or `per_connection` | whether all connections share one instance; not unless it says so |
/// | `configurator` | a type that has `Default`, or an expression | takes part in the handshake: a `Configurator` |
/// | `roles` | `roles("admin", "ops")` | only for principals with one of these roles: others get 403, and without a principal 401, before the handshake is accepted |
/// | `overflow` | `wait`, `error`, `drop_oldest`, `drop_newest`, `close`, or an expression of type `Overflow` | what is done with a message for which the outbound queue has no room |
///
/// Sizes are whole numbers of B, KB, KiB, MB, MiB, GB or GiB; times of ms, s, m or h. Expressions are constants.
///
/// # Handlers
///
/// At most one method each for the opening, text, binary, pongs, the closing and errors, marked with the other four
/// attributes. They may stand in any number of `impl` blocks in any module of the crate. A method
///
/// - takes `&self` or `&mut self`. The handlers of a connection are called one after another, so `&mut self` is always
///   free; an `async fn` that takes `&self` needs a type that is `Sync`.
/// - is a `fn` or an `async fn`. A `fn` runs on the thread of the connection and must not block; it may look straight
///   into the receive buffer, so `&str` and `&[u8]` cost nothing. The future of an `async fn` is `Send`.
/// - takes its other parameters in any order. They are known by the last word of their type, so an alias of `Session`
///   is not known.
///
/// | Parameter | In | Value |
/// |---|---|---|
/// | `&Session`, `Session` | all | the conversation |
/// | `#[path_param] room: T`, `#[path_param("room")] r: T` | all | a variable of the path, decoded: `&str`, or any `FromStr` |
/// | `#[path_param] room: Option<T>` | all | the same, or `None` if the path has no such variable |
/// | `#[query_param] page: T`, `#[query_param("page")] p: T` | all | a parameter of the query, decoded: any `FromStr` |
/// | `#[query_param] page: Option<T>` | all | the same, or `None` if the query has no such parameter |
/// | `#[query_param] tag: Vec<T>` | all | all of that name, in their order, or none |
/// | `&HandshakeRequest` | all | the request that opened the session |
/// | `State<T>`, `&State<T>` | all | what the application provides with `.state(value)` on the builder |
/// | the message | `on_message` | see [`macro@on_message`] |
/// | `CloseReason`, `&CloseReason` | `on_close` | why it ended |
/// | `&Error`, `Error` | `on_error`, required | what went wrong |
///
/// A path parameter that does not parse refuses the handshake with 404, before any handler is called. One that the path
/// does not have is a compile error, unless it is an `Option`.
///
/// A query parameter that does not parse refuses the handshake with 400, whatever handler asks for it; so does one that
/// is missing, unless it is an `Option` or a `Vec`. It is read anew for each call: what every message needs is kept in
/// a field.
///
/// A `State<T>` that nobody provides is an error when the container is built, before the port is bound.
#[proc_macro_attribute]
pub fn server_endpoint(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    endpoint(Side::Server, args.into(), item.into()).into()
}

/// Makes a struct or enum the client's side of a conversation, to be connected by a `ClientContainer`.
///
/// ```no_run
/// use endpoint_runtime::prelude::*;
///
/// #[client_endpoint(subprotocols("chat.v2"), idle_timeout = "60s")]
/// struct Bot;
///
/// impl Bot {
///     #[on_open]
///     async fn hello(&mut self, session: &Session) -> Result<(), Error> {
///         session.basic_remote().send_text("hello").await
///     }
///
///     #[on_message]
///     fn heard(&mut self, text: &str) {
///         println!("{text}");
///     }
/// }
///
/// # async fn connect() -> Result<(), Error> {
/// let session = ClientContainer::new().connect(Bot, "ws://example.org/chat/blue").await?;
/// # Ok(()) }
/// ```
///
/// Options and handlers are those of [`macro@server_endpoint`], with these differences: there is no path, and so there
/// are no `#[path_param]`s; `subprotocols` are what the client offers, the one it likes best first; `compression` is
/// what it offers; a `#[query_param]` is looked for in the URI that is connected to. The instance is made by whoever
/// connects, so the type needs no `Default`.
#[proc_macro_attribute]
pub fn client_endpoint(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    endpoint(Side::Client, args.into(), item.into()).into()
}

/// Calls the method when a connection is established, before any message.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// # type ChatError = Error;
/// # #[server_endpoint("/chat/{room}")]
/// # #[derive(Default)]
/// # struct Chat;
/// # impl Chat {
/// #[on_open]
/// async fn enter(&mut self, session: &Session, #[path_param] room: String) -> Result<(), ChatError> {
///     session.basic_remote().send_text(format!("welcome to {room}")).await
/// }
/// # }
/// ```
///
/// Takes `&Session`, `&HandshakeRequest`, `State<T>`, `#[path_param]`s and `#[query_param]`s; returns nothing or a
/// `Result<(), E>`, whose error goes to [`macro@on_error`]. Messages wait until it has returned. What all handlers share is told at
/// [`macro@server_endpoint`].
#[proc_macro_attribute]
pub fn on_open(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Open, args.into(), item.into()).into()
}

/// Calls the method for each message of one kind: text, binary, or pong.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// # #[server_endpoint("/chat")]
/// # #[derive(Default)]
/// # struct Chat { bytes: usize }
/// # impl Chat {
/// #[on_message(max_size = "4KiB")]
/// async fn say(&mut self, text: String, session: &Session) -> Option<String> {
///     (!text.is_empty()).then(|| format!("{}: {text}", session.id()))
/// }
///
/// #[on_message]
/// fn picture(&mut self, part: &[u8], last: bool) {
///     self.bytes = if last { 0 } else { self.bytes + part.len() };
/// }
///
/// #[on_message]
/// fn alive(&self, pong: Pong) { /* … */ }
/// # }
/// # #[server_endpoint("/upload")]
/// # #[derive(Default)]
/// # struct Upload;
/// # impl Upload {
///
/// // or, in another endpoint
/// #[on_message(max_total = "1GiB")]
/// async fn upload(&mut self, mut body: BinaryStream) -> Result<(), Error> {
///     while let Some(part) = body.next().await {
///         println!("{} bytes", part?.len());
///     }
///     Ok(())
/// }
/// # }
/// ```
///
/// # The message
///
/// Exactly one parameter; its type says the kind. Each may be taken by `&` as well.
///
/// | Kind | Types |
/// |---|---|
/// | text | `String`, `&str`, `Text`; numbers, `bool` and `char`, parsed from the text; `Json<T>` |
/// | binary | `Vec<u8>`, `&[u8]`, `Bytes`, `Binary`; `MessagePack<T>`, `Cbor<T>`, `Protobuf<T>` |
/// | either | `Negotiated<T>`, in the form that the subprotocol names |
/// | pong | `Pong` |
///
/// Any other type that decodes (`DecodeText`, `DecodeBinary`), or for which the endpoint lists a decoder, needs the kind
/// in the attribute: `#[on_message(text)]` or `#[on_message(binary)]`. A listed decoder goes before what the type says
/// of itself. A message that does not decode goes to [`macro@on_error`], and the method is not called.
///
/// # In parts
///
/// With a `bool` named `last` beside the message the method gets the parts as they arrive, and `true` with the final
/// one; nothing is put together for it. For `String`, `&str`, `Text` and all binary types. Parts need not be the
/// frames that were sent.
///
/// # The reply
///
/// What the method returns is sent back: text (`String`, `&str`, `Text`), bytes (`Vec<u8>`, `Bytes`, `Binary`), the text
/// form of numbers, `bool` and `char`, `Json<T>`, and every other type that implements `Encode` or for which the endpoint
/// lists an encoder, which goes before the type's own form. `()` and `None` send nothing. What does not encode, and the `Err` of a `Result`, goes to [`macro@on_error`]; `Err` has any error that
/// converts into `Box<dyn Error + Send + Sync>`.
///
/// # Events
///
/// `#[on_message(event = "chat.say")]` is for one of the `events(…)` that the endpoint lists: a text message of the form
/// `{"event": "chat.say", "data": …}`. The method takes the data as `Json<T>`, or name and data as `Event<T>`, or neither.
/// It returns `Json<T>`, which is sent back as the data of an event of the same name; or an `Event<T>`, which has its own
/// name; `()`, and `Option` and `Result` of these. A text message that is none of the listed events goes to the ordinary
/// handler of text, or if there is none to [`macro@on_error`].
///
/// # Options
///
/// `max_total = "1GiB"`, or an expression of type `u64`: the most bytes of all parts of a message together, for a method
/// that takes parts or a stream; more closes with 1009. Without it there is no limit but that of the memory for what
/// the handler has not taken, which is small: 256 KiB.
///
/// `max_size = "4KiB"`, or an expression of type `usize`: the most bytes of a whole message for this method, instead of
/// the endpoint's `max_message_size`. Not for parts.
///
/// `roles("admin")`: only for principals with one of these roles. The message of another is dropped, which
/// [`macro@on_error`] is told (`is_forbidden`), and the session goes on.
///
/// What all handlers share is told at [`macro@server_endpoint`].
#[proc_macro_attribute]
pub fn on_message(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Message, args.into(), item.into()).into()
}

/// Calls the method when the connection ends, whoever ended it: once for each [`macro@on_open`],
/// and last of all but an [`macro@on_error`] that is told of its failure.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// # #[server_endpoint("/chat")]
/// # #[derive(Default)]
/// # struct Chat;
/// # impl Chat {
/// #[on_close]
/// async fn leave(&mut self, session: &Session, reason: CloseReason) { /* … */ }
/// # }
/// ```
///
/// Takes `CloseReason` or `&CloseReason`, and what all handlers take; returns nothing or a `Result<(), E>`. The session can still be asked everything, but nothing can be sent any more. What all handlers share is told at
/// [`macro@server_endpoint`].
#[proc_macro_attribute]
pub fn on_close(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Close, args.into(), item.into()).into()
}

/// Calls the method when something goes wrong: another handler returned an error or panicked, a message did not
/// decode, a peer broke the protocol.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// # type ChatError = std::io::Error;
/// # #[server_endpoint("/chat")]
/// # #[derive(Default)]
/// # struct Chat;
/// # impl Chat {
/// #[on_error]
/// async fn failed(&mut self, session: &Session, error: &Error) {
///     if let Some(error) = error.downcast_ref::<ChatError>() { /* … */ }
/// }
/// # }
/// ```
///
/// Takes `&Error` or `Error`, which is required, and what all handlers take; returns nothing or a `Result<(), E>`. What
/// all handlers share is told at [`macro@server_endpoint`].
#[proc_macro_attribute]
pub fn on_error(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Error, args.into(), item.into()).into()
}

/// The item as it was, what makes it an endpoint, and what is wrong with it.
fn endpoint(side: Side, args: TokenStream, mut item: TokenStream) -> TokenStream {
    let Ok(mut input) = syn::parse2::<DeriveInput>(item.clone()) else {
        let (keyword, place) = parse::keyword(&item);
        let sentence =
            format!("`#[{}]` belongs above the struct or enum of the endpoint, not on this `{keyword}`", side.name());
        let error = Error::new(place, sentence).into_compile_error();
        return quote!(#item #error);
    };
    let parsed = match side {
        Side::Server => syn::parse2::<EndpointArgs>(args),
        Side::Client => EndpointArgs::of_client.parse2(args),
    };
    let args = match parsed {
        Ok(args) => args,
        Err(error) => {
            // as if the path were there
            let path = (side == Side::Server).then(|| LitStr::new("/", Span::call_site()));
            let annotated = expand::endpoint::annotated(path.as_ref(), false, &input);
            let error = error.into_compile_error();
            return quote!(#item #annotated #error);
        }
    };
    let (endpoint, result) = validate::endpoint::endpoint(args, &input);
    let is_second = |attribute: &Attribute| Side::of(attribute).is_some();
    if input.attrs.iter().any(is_second) {
        input.attrs.retain(|attribute| !is_second(attribute));
        item = input.to_token_stream();
    }
    let error = result.err().map(Error::into_compile_error);
    let is_plain = input.generics.params.is_empty() && !matches!(input.data, syn::Data::Union(_));
    let expanded = if is_plain {
        expand::endpoint::endpoint(&endpoint, &input)
    } else {
        expand::endpoint::annotated(endpoint.path.as_ref(), endpoint.shared.is_some(), &input)
    };
    quote!(#item #expanded #error)
}

/// The method as it was without the marks of its parameters, and the hidden items or what is wrong with it.
fn handler(kind: Kind, args: TokenStream, item: TokenStream) -> TokenStream {
    let Ok(mut method) = syn::parse2::<Method>(item.clone()) else {
        let (keyword, place) = parse::keyword(&item);
        let sentence = format!("`#[{}]` belongs on a method of the endpoint, not on this `{keyword}`", kind.name());
        let error = Error::new(place, sentence).into_compile_error();
        return quote!(#item #error);
    };
    let valid = parse::settings.parse2(args).and_then(|settings| validate::handler::handler(kind, settings, &method));
    let beside = valid.map_or_else(Error::into_compile_error, |handler| expand::handler::handler(&handler));
    // One that does not belong here has been complained about and must not do so itself.
    method.attrs.retain(|attribute| Kind::of(attribute).is_none() && !parse::is_mark(attribute));
    quote!(#method #beside)
}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
