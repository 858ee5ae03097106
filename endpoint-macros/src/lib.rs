//! The attributes of `endpoint-runtime`. Depend on that crate: it exports them, and the generated code names it.
//!
//! [`macro@server_endpoint`] goes on a type that a server serves under a path, [`macro@client_endpoint`] on one that
//! connects to a server. [`macro@on_open`], [`macro@on_message`], [`macro@on_presence`], [`macro@on_close`] and
//! [`macro@on_error`] go on methods in ordinary `impl` blocks.
//!
//! A renamed dependency works: the attributes find its name in the `Cargo.toml` of the package. If a crate of your own
//! re-exports `endpoint-runtime`, the packages that depend on that crate alone name the path in their `Cargo.toml`:
//!
//! ```toml
//! [package.metadata.endpoint-runtime]
//! crate = "facade::websocket"
//! ```

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Attribute, DeriveInput, Error, LitStr};

mod crate_path;
mod diagnostics;
mod expand;
mod options;
mod parse;
mod template;
mod types;
mod validate;

use crate::parse::{EndpointArgs, EndpointAttr, HandlerAttr, Method, ParamAttr};

/// Serves a struct or an enum as a WebSocket endpoint under a path.
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
/// Each connection has its own instance of the type, created by `Default` unless the server is given another
/// constructor. The type is `Send` and has no generics and no lifetimes. With `instance = shared` all connections share
/// one instance, which is created once when the server is built; then handlers take `&self`, and the type is `Sync`.
///
/// # Path
///
/// A string literal that starts with `/`. A variable replaces a whole segment: `/chat/{room}`, not `/chat-{room}`. Its
/// name consists of letters, digits and `_`, and appears in the path once. A trailing slash is significant: `/a/` and
/// `/a` are two paths. Write segments decoded: `/café`, not `/caf%C3%A9`. Wildcards, `.`, `..` and empty segments are not
/// allowed.
///
/// # Options
///
/// *container* means the setting of the same name on the container's builder.
///
#[doc = crate::options::table::endpoint_options_markdown!()]
///
/// Sizes are whole numbers of B, KB, KiB, MB, MiB, GB or GiB, and times are whole numbers of ms, s, m or h. Expressions
/// must be constant.
///
/// Settings of `compression = on(…)`:
///
#[doc = crate::options::table::compression_options_markdown!()]
///
/// Settings of `presence(…)`:
///
#[doc = crate::options::table::presence_options_markdown!()]
///
/// Settings of `history(…)`:
///
#[doc = crate::options::table::history_options_markdown!()]
///
/// Settings of `max_sessions_per(…)`:
///
#[doc = crate::options::table::sessions_per_options_markdown!()]
/// Settings of `rate(…)`:
///
#[doc = crate::options::table::rate_options_markdown!()]
///
/// # Handlers
///
/// Each handler is a method with one of the other five attributes. An endpoint has at most one handler each for the
/// opening, text, binary, pongs, changes of presence, the closing and errors. The methods may be in any number of `impl` blocks, in any module
/// of the crate. A handler
///
/// - takes `&self` or `&mut self`. The handlers of a connection never run concurrently, so `&mut self` is always
///   available. An `async fn` that takes `&self` requires that the type is `Sync`.
/// - is a `fn` or an `async fn`. A `fn` runs on the thread of the connection and must not block. It borrows from the
///   receive buffer, so `&str` and `&[u8]` are not copied. The future of an `async fn` is `Send`.
/// - takes its other parameters in any order. The attribute recognizes them by the last segment of their type, so it does
///   not recognize an alias of `Session`. A type of your own may have such a name if it is the message and the attribute
///   says so, with `text` or `binary`: `domain::Session` in `#[on_message(text)]`. If several parameters can be meant, the
///   message is the one whose path begins elsewhere, and then the one that is taken by value.
/// - may have lifetimes, but neither type parameters nor constants.
/// - is in an `impl` block without a trait, and returns its value, not a future.
///
/// | Parameter | Handlers | Value |
/// |---|---|---|
/// | `&Session`, `Session` | all | the session |
/// | `#[path_param] room: T`, `#[path_param("room")] r: T` | all | a variable of the path, decoded: `&str`, or any `FromStr` |
/// | `#[path_param] room: Option<T>` | all | the same, or `None` if the path has no such variable |
/// | `#[query_param] page: T`, `#[query_param("page")] p: T` | all | a parameter of the query, decoded: any `FromStr` |
/// | `#[query_param] page: Option<T>` | all | the same, or `None` if the query has no such parameter |
/// | `#[query_param] tag: Vec<T>` | all | all parameters of that name, in their order |
/// | `&HandshakeRequest` | all | the request that opened the session |
/// | `State<T>`, `&State<T>` | all | the value that the application provides with `.state(value)` on the builder; the pattern `State(value): State<T>` binds the `Arc<T>` |
/// | the message | `on_message` | see [`macro@on_message`] |
/// | `Presence<M>`, `&Presence<M>` | `on_presence`, required | who joined a room, left it, or changed |
/// | `CloseReason`, `&CloseReason` | `on_close` | why the session ended |
/// | `&Error`, `Error` | `on_error`, required | what went wrong |
///
/// A path parameter that does not parse refuses the handshake with 404, before any handler is called. A path parameter
/// that is not in the path is a compile error, unless it is an `Option`.
///
/// A query parameter that does not parse refuses the handshake with 400, whichever handler takes it. So does one that is
/// missing, unless it is an `Option` or a `Vec`. It is parsed again for each call: keep a value that every message needs
/// in a field.
///
/// A `State<T>` that the application does not provide is an error when the container is built, before the port is bound.
///
/// # The name of the crate
///
/// A renamed dependency works: the attributes find its name in the `Cargo.toml` of the package. A package that has the
/// crate only through another crate that re-exports it writes `[package.metadata.endpoint-runtime]` and
/// `crate = "that_crate::path"` there.
#[proc_macro_attribute]
pub fn server_endpoint(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    endpoint(EndpointAttr::Server, args.into(), item.into()).into()
}

/// Makes a struct or an enum the client side of a session. A `ClientContainer` connects it to a server.
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
/// Handlers are the same as those of [`macro@server_endpoint`], and its table of options shows which are allowed here.
/// There is no path, so there is no `#[path_param]`; a `#[query_param]` is a parameter of the URI that the client connects
/// to. The instance is passed to `connect`, so the type does not need `Default`.
#[proc_macro_attribute]
pub fn client_endpoint(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    endpoint(EndpointAttr::Client, args.into(), item.into()).into()
}

/// Calls the method when a session opens, before its first message.
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
/// The method takes `&Session`, `&HandshakeRequest`, `State<T>`, `#[path_param]` and `#[query_param]` parameters. It may
/// return whatever [`macro@on_message`] may return, and the peer gets that value as a greeting. An error goes to
/// [`macro@on_error`] and ends the session. Messages wait until the method has returned and the greeting is queued.
/// [`macro@server_endpoint`] describes what applies to all handlers.
#[proc_macro_attribute]
pub fn on_open(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(HandlerAttr::Open, args.into(), item.into()).into()
}

/// Calls the method for each message of one kind: text, binary or pong.
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
/// # Message
///
/// Exactly one parameter is the message. Its type determines the kind; a `&` before it makes no difference.
///
/// | Kind | Types |
/// |---|---|
/// | text | `String`, `&str`, `Text`; numbers, `bool` and `char`, parsed from the text; `Json<T>` |
/// | binary | `Vec<u8>`, `&[u8]`, `Bytes`, `Binary`; `MessagePack<T>`, `Cbor<T>`, `Protobuf<T>` |
/// | either | `Negotiated<T>`, in the format of the subprotocol |
/// | pong | `Pong` |
///
/// For any other type, specify the kind: `#[on_message(text)]` or `#[on_message(binary)]`. The type implements
/// `DecodeText` or `DecodeBinary`, or the endpoint lists a decoder for it; a listed decoder takes precedence. What the
/// attribute specifies counts, whatever the name of the type suggests. The data of a `Json<Say<'_>>` borrows from the
/// message. A message that does not decode goes to [`macro@on_error`], and the method is not called.
///
/// # Parts
///
/// With a `bool` named `last` beside the message, the method gets the parts of each message as they arrive, and `true`
/// with the final part; the message is not assembled. The type is `String`, `&str`, `Text` or one of the first four binary
/// types. The parts are not necessarily the frames that were sent.
///
/// # Reply
///
/// The value that the method returns is sent back: text (`String`, `&str`, `Text`), bytes (`Vec<u8>`, `Bytes`, `Binary`),
/// numbers, `bool` and `char` as text, `Json<T>`, and every type that implements `Encode` or for which the endpoint lists
/// an encoder, which takes precedence. `()` and `None` send nothing. The `Err` of a `Result` and a value that does not
/// encode go to [`macro@on_error`]. The error type is any that converts into `Box<dyn Error + Send + Sync>`. An error that
/// is a `CloseReason` closes the session with that reason instead, and one that has a `CloseReason` among its sources does
/// both. A type named `Result` with one parameter is taken for an alias of the standard one.
///
/// An `impl Stream<Item = T>`, a `BoxStream<'_, T>` or an `impl Iterator<Item = T>`, also inside `Option` and `Result`, is
/// several replies: each item is sent when the one before it is, so that a slow peer slows the stream down. The next
/// message is handled when the stream has ended; it is dropped when the session ends. The elements of a `Vec<T>` or
/// `[T; N]` are several replies, too, queued at once; bytes (`Vec<u8>`) are one.
///
/// # Events
///
/// `#[on_message(event = "chat.say")]` handles one of the `events(…)` that the endpoint lists: text messages of the form
/// `{"event": "chat.say", "data": …}`. The method takes the data as `Json<T>`, or name and data as `Event<T>`, or neither.
/// It returns `Json<T>`, which is sent as the data of an event of the same name; an `Event<T>`, which has its own name;
/// `()`; or an `Option` or a `Result` of these. A text message that is no listed event goes to the ordinary text handler,
/// or, if there is none, to [`macro@on_error`].
///
/// # Options
///
#[doc = crate::options::table::message_options_markdown!()]
///
/// Without `max_total`, a message in parts or a stream has no size limit; the data that the handler has not taken yet
/// needs at most 256 KiB. [`macro@server_endpoint`] describes what applies to all handlers.
#[proc_macro_attribute]
pub fn on_message(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(HandlerAttr::Message, args.into(), item.into()).into()
}

/// Calls the method when the users who are present in a room of the session change.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// #[server_endpoint("/chat/{room}", presence(grace = "15s"))]
/// #[derive(Default)]
/// struct Chat;
///
/// impl Chat {
///     #[on_open]
///     fn enter(&mut self, session: &Session, #[path_param] room: &str) {
///         session.join(room);
///     }
///
///     #[on_presence]
///     fn changed(&mut self, change: Presence) -> Option<String> {
///         let joined: Vec<&str> = change.joined.iter().map(|user| &*user.name).collect();
///         (!joined.is_empty()).then(|| format!("{} joined {}", joined.join(", "), change.room))
///     }
/// }
/// ```
///
/// The endpoint has the option `presence`: then each of its sessions is present in the rooms that it joins, under the name
/// of its principal. Several sessions of one user are one user with several devices. A session without a principal is not
/// present, but hears the changes, too.
///
/// The method must take `Presence<M>` or `&Presence<M>`: one room, and the users who joined it, left it, or are others than
/// before, each with a meta of type `M` for each device (`Session::presence`). Without metas, write `Presence`. It may take
/// the parameters of all handlers, and return whatever [`macro@on_message`] may return, which is sent to the peer.
///
/// The first change of a room after the session joined lists everyone present, including the session's own user; later
/// ones are differences. Changes are gathered for 100 ms, and what came and went meanwhile cancels out. When a session
/// ends, its user stays present for the grace period; `Session::leave` takes effect at once. If the method is slow, or the
/// peer reads too slowly, the changes of a room are merged into one. A change that waits when the session leaves the room
/// or ends is dropped. [`macro@server_endpoint`] describes what applies to all handlers.
#[proc_macro_attribute]
pub fn on_presence(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(HandlerAttr::Presence, args.into(), item.into()).into()
}

/// Calls the method when a session ends, whichever side ended it: exactly once for each [`macro@on_open`].
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
/// No other handler is called after it, except [`macro@on_error`] for its own error. The method takes `CloseReason` or
/// `&CloseReason` and the parameters of all handlers, and returns nothing or a `Result<(), E>`. The session is still
/// readable, and so are the names of the rooms that it was in, but nothing can be sent to its peer.
/// [`macro@server_endpoint`] describes what applies to all handlers.
#[proc_macro_attribute]
pub fn on_close(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(HandlerAttr::Close, args.into(), item.into()).into()
}

/// Calls the method for an error: another handler returned an error or panicked, a message did not decode, or the peer
/// violated the protocol.
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
/// The method must take `&Error` or `Error`, may take the parameters of all handlers, and returns nothing or a
/// `Result<(), E>`; with `Err(CloseReason)` it closes the session. [`macro@server_endpoint`] describes what applies to all
/// handlers.
#[proc_macro_attribute]
pub fn on_error(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(HandlerAttr::Error, args.into(), item.into()).into()
}

/// The unchanged item, the items that make it an endpoint, and the errors.
fn endpoint(attribute: EndpointAttr, args: TokenStream, mut item: TokenStream) -> TokenStream {
    if let Err(message) = crate_path::read_manifest() {
        let error = Error::new(Span::call_site(), message).into_compile_error();
        return quote!(#item #error);
    }
    let Ok(mut input) = syn::parse2::<DeriveInput>(item.clone()) else {
        let (keyword, place) = parse::keyword(&item);
        let message = format!("`#[{}]` goes on a struct or an enum, not on this `{keyword}`", attribute.name());
        let error = Error::new(place, message).into_compile_error();
        return quote!(#item #error);
    };
    let parsed = match attribute {
        EndpointAttr::Server => syn::parse2::<EndpointArgs>(args),
        EndpointAttr::Client => EndpointArgs::parse_client.parse2(args),
    };
    let args = match parsed {
        Ok(args) => args,
        Err(error) => {
            // with a path, so that the handlers do not report follow-up errors
            let path = (attribute == EndpointAttr::Server).then(|| LitStr::new("/", Span::call_site()));
            let annotated = expand::endpoint::annotated_impl(path.as_ref(), false, &input);
            let error = error.into_compile_error();
            return quote!(#item #annotated #error);
        }
    };
    let (endpoint, result) = validate::endpoint::validate(attribute, args, &input);
    let is_second = |attribute: &Attribute| EndpointAttr::of(attribute).is_some();
    if input.attrs.iter().any(is_second) {
        input.attrs.retain(|attribute| !is_second(attribute));
        item = input.to_token_stream();
    }
    let error = result.err().map(Error::into_compile_error);
    let can_be_endpoint = input.generics.params.is_empty() && !matches!(input.data, syn::Data::Union(_));
    let expanded = if can_be_endpoint {
        expand::endpoint::expand(&endpoint, &input)
    } else {
        expand::endpoint::annotated_impl(endpoint.path.as_ref(), endpoint.shared.is_some(), &input)
    };
    quote!(#item #expanded #error)
}

/// The method without the attributes of its parameters, and the hidden items or the errors.
fn handler(attribute: HandlerAttr, args: TokenStream, item: TokenStream) -> TokenStream {
    // a package without the runtime is reported at the endpoint, once
    let has_runtime = crate_path::read_manifest().is_ok();
    let Ok(mut method) = syn::parse2::<Method>(item.clone()) else {
        let (keyword, place) = parse::keyword(&item);
        let message = format!("`#[{}]` goes on a method, not on this `{keyword}`", attribute.name());
        let error = Error::new(place, message).into_compile_error();
        return quote!(#item #error);
    };
    let options = parse::options.parse2(args);
    let event = options.as_ref().ok().and_then(|options| validate::handler::event_of(options));
    let valid = options.and_then(|options| validate::handler::validate(attribute, &options, &method));
    let beside = match valid {
        Ok(handler) => {
            expand::state_pattern::bind(&mut method, |index| handler.takes_state(index));
            if has_runtime { expand::handler::expand(&handler) } else { TokenStream::new() }
        }
        Err(error) => {
            let is_state: Vec<bool> =
                method.parameters.iter().map(|parameter| types::is_state(&parameter.ty)).collect();
            expand::state_pattern::bind(&mut method, |index| is_state[index]);
            let event = event.filter(|_| has_runtime && attribute == HandlerAttr::Message);
            let event = event.as_ref().map(expand::event::failed);
            let error = error.into_compile_error();
            quote!(#error #event)
        }
    };
    // a misplaced attribute of ours has been reported, and must not report itself
    method.attrs.retain(|attribute| HandlerAttr::of(attribute).is_none() && ParamAttr::of(attribute).is_none());
    quote!(#method #beside)
}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
