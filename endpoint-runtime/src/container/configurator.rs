//! Handshake hooks: the application's part in the opening handshake of one endpoint.

use std::fmt;
use std::future::{Future, ready};

use http::header::{self, HeaderMap, HeaderName};

use crate::error::{Error, Kind};
use crate::handshake::extensions::ExtensionOffer;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::session::principal::{Identity, Principal};
use crate::session::properties::Properties;
use crate::session::{MaybeRare, rare};
use endpoint_wire::extension::Extension;

/// Handshake hooks of an endpoint `E` (Jakarta's `ServerEndpointConfig.Configurator`). Every method has a default,
/// which behaves as if there were no configurator.
///
/// Specify it in the annotation, `#[server_endpoint("/chat", configurator = ChatConfigurator)]`, or when mounting, with
/// [`endpoint_with_configurator`](crate::ContainerBuilder::endpoint_with_configurator). There is one instance for each
/// mounted endpoint. For each handshake its methods are called in declaration order, after the path has matched the
/// endpoint and the request has been validated as a handshake; then the container answers 101. A panic in any method
/// refuses with 500. The request shows the container's [states](HandshakeRequest::state) and what `tower` layers in
/// front left in its [extensions](HandshakeRequest::extensions).
///
/// For a hook of every endpoint see [`ContainerBuilder::handshake`](crate::ContainerBuilder::handshake).
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::{Configurator, HandshakeResponse};
///
/// #[server_endpoint("/members", configurator = Door)]
/// #[derive(Default)]
/// struct Members;
///
/// #[derive(Default)]
/// struct Door;
///
/// struct Ticket(String);
///
/// impl Configurator<Members> for Door {
///     async fn modify_handshake(
///         &self,
///         request: &HandshakeRequest,
///         response: &mut HandshakeResponse,
///     ) -> Result<(), Refusal> {
///         let Some(ticket) = request.header("x-ticket") else {
///             return Err(Refusal::new(http::StatusCode::PAYMENT_REQUIRED).with_body("tickets are sold at /tickets"));
///         };
///         response.properties().insert(Ticket(ticket.to_owned()));
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a configurator of `{E}`",
    label = "does not implement `Configurator<{E}>`",
    note = "write `impl Configurator<{E}> for {Self} {{}}`: every method has a default"
)]
pub trait Configurator<E>: Send + Sync + 'static {
    /// Admits a request by its `Origin`, or refuses it. `policy` is the decision of the container's
    /// [`Origins`](crate::Origins), which the default returns.
    ///
    /// # Errors
    /// The refusal; [`Refusal::foreign_origin`] is the usual one.
    fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        let _ = request;
        policy
    }

    /// Chooses the subprotocol: `supported` lists those of the annotation, `offered` the client's, in its order of
    /// preference. The default is the first offered subprotocol that is supported; `None` opens the session without
    /// one.
    ///
    /// The client must have offered the chosen subprotocol (RFC 6455 §4.2.2); any other is logged and refused with 500.
    fn select_subprotocol<'a>(&self, supported: &[&'a str], offered: &[&'a str]) -> Option<&'a str> {
        offered.iter().copied().find(|offered| supported.contains(offered))
    }

    /// Chooses among the extensions that the client offers: the container uses the first one returned that it supports
    /// and that the endpoint's settings allow, and declines the rest. Default: all of them, in the client's order.
    fn negotiate_extensions<'o>(&self, offered: &'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> {
        offered.iter().collect()
    }

    /// Completes the handshake: adds headers to the response, sets properties of the future session, sets the
    /// principal, or refuses with any status, headers and body.
    ///
    /// It may wait, for example for a database, up to the
    /// [`handshake_timeout`](crate::ContainerBuilder::handshake_timeout); then the handshake is refused with 503.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Cancel safety
    /// The future is dropped on timeout or if the client disconnects: no session opens, and no handler runs.
    fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (request, response);
        ready(Ok(()))
    }

    /// Makes the instance for this connection. `None`, the default, uses the constructor given when mounting, or
    /// `Default`. Not called for an endpoint whose instance is shared.
    ///
    /// # Errors
    /// The refusal.
    fn endpoint(&self, request: &HandshakeRequest) -> Result<Option<E>, Refusal> {
        let _ = request;
        Ok(None)
    }
}

/// The application's part of the response that accepts a handshake, and the initial state of the session.
pub struct HandshakeResponse {
    headers: HeaderMap,
    subprotocol: Option<Box<str>>,
    extension: Option<Extension>,
    rare: MaybeRare,
}

impl HandshakeResponse {
    /// `identity` is the peer's identity, if it is already known.
    pub(crate) fn new(subprotocol: Option<&str>, extension: Option<Extension>, identity: Option<Identity>) -> Self {
        let (subprotocol, rare) = (subprotocol.map(Box::from), MaybeRare::new());
        if let Some(identity) = identity {
            rare::of(&rare).set_identity(identity);
        }
        Self { headers: HeaderMap::new(), subprotocol, extension, rare }
    }

    /// The headers that the application adds to the response.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Mutable access to the headers that the application adds. The headers of the handshake itself are not included
    /// and must not be added: `Connection`, `Upgrade`, names that begin with `Sec-WebSocket-`, and the headers of a
    /// body (`Content-Length`, `Transfer-Encoding`). If one is added, this is logged and the handshake is refused with
    /// 500.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The chosen subprotocol.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The negotiated extensions. Beyond the compression budget the response may still omit them.
    pub fn extensions(&self) -> &[Extension] {
        self.extension.as_slice()
    }

    /// Initial values of [`Session::properties`](crate::Session::properties). Each connection has its own.
    pub fn properties(&self) -> Properties<'_> {
        Properties::of(&self.rare)
    }

    /// Sets the [`Session::principal`](crate::Session::principal), which overrides an [`Identity`] in the request's
    /// extensions.
    pub fn set_principal<P: Principal>(&mut self, principal: P) {
        rare::of(&self.rare).set_identity(Identity::new(principal));
    }

    /// Fails if the application added a header that it must not.
    pub(super) fn check_reserved(&self, failed: fn(&Error) -> Refusal) -> Result<(), Refusal> {
        let is_reserved = |name: &&HeaderName| {
            let reserved = [header::CONNECTION, header::UPGRADE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
            reserved.contains(name) || name.as_str().starts_with("sec-websocket-")
        };
        let Some(name) = self.headers.keys().find(is_reserved) else { return Ok(()) };
        let text = format!("it set the header {name:?}, which is reserved for the handshake");
        Err(failed(&Error::new(Kind::User, text)))
    }

    pub(crate) fn into_parts(self) -> (HeaderMap, MaybeRare) {
        (self.headers, self.rare)
    }

    /// The identity of the peer, if one is set.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.rare.get()?.identity()
    }
}

/// Omits the values of the headers, which may be cookies.
impl fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("subprotocol", &self.subprotocol)
            .field("extension", &self.extension)
            .finish_non_exhaustive()
    }
}
