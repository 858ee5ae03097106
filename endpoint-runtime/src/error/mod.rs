//! The one error type: opaque, with query methods. The text names the failed operation, `source` is the cause.

pub(crate) mod excerpt;

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use http::Response;

use self::excerpt::excerpt;
use endpoint_wire::Violation;
use endpoint_wire::close::{CloseReason, Parts, ReasonTooLong};
use endpoint_wire::message::Message;
use endpoint_wire::source_search;

/// Any error that a handler may return: a type that converts into this becomes an [`Error`] for `#[on_error]`.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// Failure of an operation of this crate, or of one of your handlers.
///
/// The type is opaque: query its kind (`is_closed`, `is_timeout`, …), print it, follow [`source`](StdError::source), or
/// look for your own error type with [`downcast_ref`](Error::downcast_ref). An error of yours that contains an `Error` of
/// this crate has its kind: if a handler returns an enum with `#[from] Error`, or an `anyhow::Error` made by `?`, and a
/// send failed because the peer has gone, `is_closed` is true.
///
/// `{}` prints what failed, `{:#}` and `{:?}` print the causes as well. The printed text has at most 1 KiB, however long
/// the message that caused it, and text from a peer is cut to 256 bytes, followed by `…`; a list of mistakes
/// ([`is_deployment`](Error::is_deployment)) is never cut. The [`source`](StdError::source) is the whole error of your
/// code, or of a parser, at its full length.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    text: Cow<'static, str>,
    source: Option<Source>,
    /// The message that could not be decoded.
    message: Option<Message>,
    /// The response of a server that did not open a session.
    response: Option<Response<Bytes>>,
}

/// The cause of an error.
enum Source {
    Error(BoxError),
    /// An error type that is not a `std` error itself, and gives out the error inside.
    Report(Box<dyn Report>),
}

/// `anyhow::Error`, `eyre::Report` and their like. Turned into a boxed error, they would hide the type of the error
/// inside.
trait Report: Send + Sync {
    fn error(&self) -> &(dyn StdError + 'static);
}

impl<R: AsRef<dyn StdError + Send + Sync> + Send + Sync> Report for R {
    fn error(&self) -> &(dyn StdError + 'static) {
        self.as_ref()
    }
}

impl Source {
    fn error(&self) -> &(dyn StdError + 'static) {
        match self {
            Self::Error(error) => &**error,
            Self::Report(report) => report.error(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Closed,
    Timeout,
    QueueFull,
    TooBig,
    Decode,
    Encode,
    Protocol,
    Panic,
    Forbidden,
    Refused,
    RateLimited,
    DuplicateHandler,
    #[cfg(feature = "adopted")]
    Unsupported,
    Deploy,
    Limit,
    Cluster,
    Handshake,
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    Tls,
    Io,
    User,
}

/// Maximum bytes of the text of an error.
const LONGEST: usize = 1 << 10;

impl Error {
    /// An application error, to return from a handler: `on_error` finds it with [`Error::downcast_ref`]. For an
    /// `anyhow::Error` or an `eyre::Report` call [`report`](Self::report), which keeps the type of the error inside.
    pub fn user(error: impl Into<BoxError>) -> Self {
        let source = error.into();
        // an `Error` inside a boxed error is unwrapped
        match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(source) => Self::with_source(Kind::User, excerpt::within(&source, LONGEST).to_string(), source),
        }
    }

    /// As [`user`](Self::user), for an `anyhow::Error`, an `eyre::Report`, or any other error type that is a handle of
    /// the error inside: [`downcast_ref`](Self::downcast_ref) then finds that error. Annotated handlers that return such
    /// an error do this themselves; the closure of a [`MessageHandler`](crate::MessageHandler) may call
    /// `.map_err(Error::report)`.
    pub fn report(report: impl AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static) -> Self {
        let text = excerpt::within(report.as_ref(), LONGEST).to_string();
        Self::made(Kind::User, text.into(), Some(Source::Report(Box::new(report))))
    }

    /// The error of a [`DecodeText`](crate::DecodeText) or [`DecodeBinary`](crate::DecodeBinary): a message that cannot
    /// be decoded into the requested type, with the reason. The message is kept for `on_error` ([`text`](Self::text),
    /// [`bytes`](Self::bytes)).
    pub fn decode(message: impl Into<Message>, source: impl Into<BoxError>) -> Self {
        Self::undecodable(message.into(), "cannot be decoded", source)
    }

    /// The error of an [`Encode`](crate::Encode): an object that cannot be encoded as a message, with the reason.
    pub fn encode(source: impl Into<BoxError>) -> Self {
        let source = source.into();
        Self::with_source(Kind::Encode, format!("cannot encode an object: {}", excerpt(&source)), source)
    }

    pub(crate) fn new(kind: Kind, text: impl Into<Cow<'static, str>>) -> Self {
        Self::made(kind, text.into(), None)
    }

    pub(crate) fn with_source(kind: Kind, text: impl Into<Cow<'static, str>>, source: impl Into<BoxError>) -> Self {
        Self::made(kind, text.into(), Some(Source::Error(source.into())))
    }

    fn made(kind: Kind, mut text: Cow<'static, str>, source: Option<Source>) -> Self {
        if let Cow::Owned(text) = &mut text {
            if kind != Kind::Deploy {
                excerpt::cut(text, LONGEST);
            }
        }
        Self(Box::new(Inner { kind, text, source, message: None, response: None }))
    }

    /// The session was closed before, or while, the operation ran. Nothing more will be sent on it.
    pub fn is_closed(&self) -> bool {
        self.kind() == Kind::Closed
    }

    /// A timeout expired: the send timeout, that of a handler that continued after its session had ended, or the
    /// connect timeout of a client.
    pub fn is_timeout(&self) -> bool {
        self.kind() == Kind::Timeout
    }

    /// The send queue was full, so the message was not sent.
    pub fn is_queue_full(&self) -> bool {
        self.kind() == Kind::QueueFull
    }

    /// A message, a ping or a close reason was larger than its limit.
    pub fn is_too_big(&self) -> bool {
        self.kind() == Kind::TooBig
    }

    /// A received message, or a path parameter, could not be decoded into the type that the handler takes.
    ///
    /// For a message, [`text`](Self::text) or [`bytes`](Self::bytes) returns it.
    pub fn is_decode(&self) -> bool {
        self.kind() == Kind::Decode
    }

    /// An object to send, or to return as a reply, could not be encoded as a message.
    pub fn is_encode(&self) -> bool {
        self.kind() == Kind::Encode
    }

    /// The peer broke the protocol (RFC 6455).
    pub fn is_protocol(&self) -> bool {
        self.kind() == Kind::Protocol
    }

    /// A handler panicked; the text contains the panic message.
    pub fn is_panic(&self) -> bool {
        self.kind() == Kind::Panic
    }

    /// The peer lacks a role that the message requires (`#[on_message(roles("admin"))]`); the message was dropped.
    pub fn is_forbidden(&self) -> bool {
        self.kind() == Kind::Forbidden
    }

    /// An interceptor refused the message: one that was received, which was dropped
    /// ([`Outcome::refuse`](crate::Outcome::refuse)), or one that was to be sent
    /// ([`Verdict::Refuse`](crate::Verdict::Refuse)).
    pub fn is_refused(&self) -> bool {
        self.kind() == Kind::Refused
    }

    /// The peer sent more than a rate allows ([`MessageRate`](crate::MessageRate)). The message was dropped, or the session
    /// ends with 1008, as [`OverRate`](crate::OverRate) tells.
    pub fn is_rate_limited(&self) -> bool {
        self.kind() == Kind::RateLimited
    }

    /// The session already has a message handler of this kind
    /// ([`Session::add_message_handler`](crate::Session::add_message_handler)).
    pub fn is_duplicate_handler(&self) -> bool {
        self.kind() == Kind::DuplicateHandler
    }

    /// The session's transport does not support the operation: messages in parts, on a socket that other code accepted
    /// and that takes whole messages only ([`ExternalSocket`](crate::ExternalSocket)). Nothing was sent.
    #[cfg(feature = "adopted")]
    pub fn is_unsupported(&self) -> bool {
        self.kind() == Kind::Unsupported
    }

    /// A limit of the session does not allow it, such as
    /// [`max_rooms_per_session`](crate::ContainerBuilder::max_rooms_per_session).
    pub fn is_limit(&self) -> bool {
        self.kind() == Kind::Limit
    }

    /// Other nodes of the cluster could not be reached, or did not confirm in time. What concerns this node has been
    /// done.
    pub fn is_cluster(&self) -> bool {
        self.kind() == Kind::Cluster
    }

    /// The endpoints cannot be deployed; the text lists every mistake.
    pub fn is_deployment(&self) -> bool {
        self.kind() == Kind::Deploy
    }

    /// A client's opening handshake failed: the request was invalid, the server refused it, or the server's response
    /// was invalid. [`response`](Self::response) returns the response, if there was one.
    pub fn is_handshake(&self) -> bool {
        self.kind() == Kind::Handshake
    }

    /// TLS failed: a certificate or a key is not usable, or the other side is not trusted, or its TLS was not
    /// understood.
    pub fn is_tls(&self) -> bool {
        self.kind() == Kind::Tls
    }

    /// The operating system reported an error, for example that a port is taken; the cause is in `source`.
    pub fn is_io(&self) -> bool {
        self.kind() == Kind::Io
    }

    /// The application's own error, returned from a handler.
    pub fn is_user(&self) -> bool {
        self.0.kind == Kind::User
    }

    /// The text message that could not be decoded (Jakarta's `DecodeException.getText`); `None` for every other error.
    pub fn text(&self) -> Option<&str> {
        match &self.0.innermost().message {
            Some(Message::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The binary message that could not be decoded (Jakarta's `DecodeException.getBytes`); `None` for every other
    /// error.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.0.innermost().message {
            Some(Message::Binary(data)) => Some(data),
            _ => None,
        }
    }

    /// The server's response to an opening handshake that opened no session: status, headers, and up to 64 KiB of the
    /// body, as far as it arrived within a second. `None` for every other error.
    ///
    /// With status 101 the server accepted the upgrade, but its response does not match the request.
    pub fn response(&self) -> Option<&Response<Bytes>> {
        self.0.innermost().response.as_ref()
    }

    /// The first error of type `T` among the causes of this one: the application's error, its
    /// [`source`](StdError::source), and so on. Also looks into [`std::io::Error`], and into an `anyhow::Error` or
    /// `eyre::Report` that an annotated handler returned or that was given to [`report`](Self::report).
    ///
    /// An error in a `#[error(transparent)]` variant of thiserror is hidden from this, because such a variant passes on
    /// the source of that error instead of the error. Only an `Error` of this crate and a
    /// [`CloseReason`](crate::CloseReason) are recognized there: the questions, such as [`is_closed`](Self::is_closed),
    /// are answered, and the session is closed.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.find()
    }

    /// The reason with which the application wants the session to be closed: an error of a handler that is or contains
    /// a [`CloseReason`]. Also returns whether it contains nothing else, so that no `on_error` needs to see it.
    pub(crate) fn close_reason(&self) -> Option<(CloseReason, bool)> {
        if self.0.kind != Kind::User {
            return None;
        }
        let is_alone = self.source().is_some_and(|source| source.is::<CloseReason>());
        self.0.find::<Parts>().map(|parts| (parts.clone().into(), is_alone))
    }

    /// The kind of the innermost error of this crate: an error of the application may contain one.
    pub(crate) fn kind(&self) -> Kind {
        self.0.innermost().kind
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed, "the session is closed")
    }

    /// A handshake that the server did not accept, or accepted with an invalid response.
    #[cfg(feature = "client")]
    pub(crate) fn answered(text: impl Into<Cow<'static, str>>, response: Response<Bytes>) -> Self {
        let mut error = Self::new(Kind::Handshake, text);
        error.0.response = Some(response);
        error
    }

    pub(crate) fn unread() -> Self {
        Self::new(Kind::Closed, "the handler returned before it read the whole message")
    }

    /// This error inside a [`std::io::Error`], for interfaces of `std`.
    pub(crate) fn into_io(self) -> std::io::Error {
        let kind = match self.0.kind {
            Kind::Closed => std::io::ErrorKind::BrokenPipe,
            Kind::Timeout => std::io::ErrorKind::TimedOut,
            Kind::Encode | Kind::Protocol => std::io::ErrorKind::InvalidData,
            _ => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, self)
    }

    pub(crate) fn panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(a panic without a message)");
        Self::new(Kind::Panic, format!("a handler panicked: {}", excerpt::within(message, LONGEST)))
    }

    /// `failure` completes a sentence about the message, such as "is not of type u8".
    pub(crate) fn undecodable(message: Message, failure: &str, source: impl Into<BoxError>) -> Self {
        let source = source.into();
        let reason = excerpt(&source);
        let text = match &message {
            Message::Text(text) => format!("the text message {:?} {failure}: {reason}", beginning(text)),
            Message::Binary(data) => format!("the binary message of {} bytes {failure}: {reason}", data.len()),
        };
        let mut error = Self::with_source(Kind::Decode, text, source);
        error.0.message = Some(message);
        error
    }
}

/// The first 40 characters.
fn beginning(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

impl Inner {
    /// The first `T` among the causes.
    fn find<T: StdError + 'static>(&self) -> Option<&T> {
        source_search::run(|| {
            let mut cause = self.source();
            while let Some(error) = cause {
                if let Some(found) = error.downcast_ref::<T>() {
                    return Some(found);
                }
                // its `source` is not the error that it wraps, but that error's source
                let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
                cause = match wrapped {
                    Some(wrapped) => Some(wrapped),
                    None => error.source(),
                };
            }
            None
        })
    }

    /// The texts of the causes that this error's own text does not contain, the outermost first; `None` without one.
    fn causes(&self) -> Option<String> {
        /// A longer chain is cut, so that one that never ends has an end.
        const MOST: usize = 16;
        // text that was cut consists of its source
        if self.text.ends_with('…') {
            return None;
        }
        let (mut causes, mut last) = (Vec::new(), self.text.to_string());
        let mut cause = self.source();
        for _ in 0..MOST {
            let Some(error) = cause else { break };
            let text = excerpt(error).to_string();
            if !last.ends_with(&text) {
                causes.push(text.clone());
            }
            (last, cause) = (text, error.source());
        }
        let mut causes = causes.join(": ");
        excerpt::cut(&mut causes, LONGEST);
        (!causes.is_empty()).then_some(causes)
    }

    /// This error; or, if it is the application's, the first error of this crate that it contains.
    fn innermost(&self) -> &Self {
        match self.kind {
            Kind::User => self.find::<Self>().map_or(self, Self::innermost),
            _ => self,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// With `{:#}` also the causes.
impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.causes() {
            Some(causes) if f.alternate() => write!(f, ": {causes}"),
            _ => Ok(()),
        }
    }
}

/// Human-readable, because `main` prints a returned error with `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)?;
        self.causes().map_or(Ok(()), |causes| write!(f, " ({causes})"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // found there if the error that contains this one hides it
        if source_search::runs() { Some(&*self.0) } else { self.0.source() }
    }
}

impl StdError for Inner {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(Source::error)
    }
}

/// An [`Error`] inside the `std` error, such as one from a writer, is unwrapped.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(error) => error,
        };
        Self::with_source(Kind::Io, excerpt::within(&error, LONGEST).to_string(), error)
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let kind = match violation {
            Violation::TooBig { .. } | Violation::NoRoom => Kind::TooBig,
            Violation::TooSlow { .. } => Kind::Timeout,
            Violation::TooFast => Kind::RateLimited,
            Violation::Protocol(_) | Violation::NotUtf8 | Violation::NotDeflate => Kind::Protocol,
        };
        Self::new(kind, violation.to_string())
    }
}

impl From<ReasonTooLong> for Error {
    fn from(reason: ReasonTooLong) -> Self {
        Self::with_source(Kind::TooBig, reason.to_string(), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Own;
    impl fmt::Display for Own {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("own")
        }
    }
    impl StdError for Own {}

    #[test]
    fn user_error_can_be_downcast() {
        let error = Error::user(Own);
        assert!(error.is_user());
        assert!(error.downcast_ref::<Own>().is_some());
        assert_eq!(error.to_string(), "own");
    }

    #[test]
    fn own_error_survives_boxing() {
        let boxed: BoxError = Box::new(Error::closed());
        assert!(Error::user(boxed).is_closed());
    }

    #[test]
    fn decode_error_keeps_the_message_and_shows_the_cause_once() {
        let error = Error::decode("{\n", "it ends too early");
        assert!(error.is_decode());
        assert_eq!((error.text(), error.bytes()), (Some("{\n"), None));
        assert_eq!(error.to_string(), r#"the text message "{\n" cannot be decoded: it ends too early"#);
        assert_eq!(format!("{error:?}"), format!("Decode: {error}"));
        let error = Error::decode([7; 100], Own);
        assert_eq!((error.text(), error.bytes()), (None, Some(&[7; 100][..])));
        assert_eq!(error.to_string(), "the binary message of 100 bytes cannot be decoded: own");
        assert!(error.downcast_ref::<Own>().is_some());
    }

    #[test]
    fn error_text_shows_only_the_start_of_a_long_message() {
        let long = "é".repeat(41);
        let error = Error::decode(long.as_str(), "no");
        assert_eq!(error.text(), Some(long.as_str()));
        assert!(error.to_string().contains(&format!("{:?}", "é".repeat(40))), "{error}");
    }

    #[test]
    fn panic_carries_its_message() {
        assert_eq!(Error::panic(&"boom").to_string(), "a handler panicked: boom");
        assert_eq!(Error::panic(&String::from("boom")).to_string(), "a handler panicked: boom");
    }
}
