//! What the application has to say in the opening handshake of one endpoint.

use std::fmt;
use std::future::{Future, ready};

use http::header::{self, HeaderMap, HeaderName};

use crate::handshake::extensions::ExtensionOffer;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::session::principal::{Identity, Principal};
use crate::session::properties;
use crate::session::properties::{MaybeRare, Properties};
use endpoint_wire::extension::Extension;

/// Takes part in the opening handshakes of an endpoint `E` (Jakarta's `ServerEndpointConfig.Configurator`). Every
/// method has a default, which does what happens without a configurator.
///
/// Named in the annotation, `#[server_endpoint("/chat", configurator = ChatConfigurator)]`, or at mount,
/// [`endpoint_with_configurator`](crate::ContainerBuilder::endpoint_with_configurator). There is one instance for each
/// mounted endpoint. For each handshake its methods are called in the order in which they stand here, once the path has
/// led to the endpoint and the request has turned out to be a sound handshake; then 101 is answered. A panic in any of
/// them refuses with 500.
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
    message = "`{Self}` is no configurator of `{E}`",
    label = "does not implement `Configurator<{E}>`",
    note = "write `impl Configurator<{E}> for {Self} {{}}`: every method has a default"
)]
pub trait Configurator<E>: Send + Sync + 'static {
    /// Admits a request by its `Origin`, or refuses it. `policy` is what the container's own
    /// [`Origins`](crate::Origins) say, and the default.
    ///
    /// # Errors
    /// The refusal; [`Refusal::foreign_origin`] is the usual one.
    fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        let _ = request;
        policy
    }

    /// Chooses the subprotocol: `supported` are those of the annotation, `offered` the client's, the one it likes best
    /// first. By default the client's first that is supported, or none, which opens the session without one.
    ///
    /// What is chosen must have been offered (RFC 6455 §4.2.2); anything else is logged and refused with 500.
    fn select_subprotocol<'a>(&self, supported: &[&'a str], offered: &[&'a str]) -> Option<&'a str> {
        offered.iter().copied().find(|offered| supported.contains(offered))
    }

    /// Chooses among the extensions that the client offers: the container uses the first of these that it speaks and
    /// that the endpoint's settings allow, and declines the rest. By default all of them, in the client's order.
    fn negotiate_extensions<'o>(&self, offered: &'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> {
        offered.iter().collect()
    }

    /// The last word: adds headers to the answer, puts data into the properties of the session that is to be, names a
    /// principal, or refuses with any status, headers and body.
    ///
    /// It may wait for others, such as a database, up to the
    /// [`handshake_timeout`](crate::ContainerBuilder::handshake_timeout); then the handshake is refused with 503.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Cancel safety
    /// It is dropped if the time is up or the client goes away: then there is no session, and no handler runs.
    fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (request, response);
        ready(Ok(()))
    }

    /// Makes the instance for this connection. `None`, the default, leaves that to the constructor given at mount, or
    /// to `Default`. Not asked for an endpoint whose instance is shared.
    ///
    /// # Errors
    /// The refusal.
    fn endpoint(&self, request: &HandshakeRequest) -> Result<Option<E>, Refusal> {
        let _ = request;
        Ok(None)
    }
}

/// The answer that accepts a handshake, as far as the application may add to it, and the beginning of a session.
pub struct HandshakeResponse {
    headers: HeaderMap,
    subprotocol: Option<Box<str>>,
    extension: Option<Extension>,
    rare: MaybeRare,
}

impl HandshakeResponse {
    /// `identity` is who the peer is, if somebody has found out before.
    pub(crate) fn new(subprotocol: Option<&str>, extension: Option<Extension>, identity: Option<Identity>) -> Self {
        let (subprotocol, rare) = (subprotocol.map(Box::from), MaybeRare::new());
        if let Some(identity) = identity {
            properties::of(&rare).set_identity(identity);
        }
        Self { headers: HeaderMap::new(), subprotocol, extension, rare }
    }

    /// The headers that the application adds to the answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The same, to be changed. Those that the handshake itself is made of are not among them, and must not be added:
    /// `Connection`, `Upgrade`, all that begin with `Sec-WebSocket-`, and those that speak of a body
    /// (`Content-Length`, `Transfer-Encoding`). If one is, that is logged and the handshake refused with 500.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The subprotocol that was chosen.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The extensions that were negotiated. Beyond the budget for compression the answer may still go without.
    pub fn extensions(&self) -> &[Extension] {
        self.extension.as_slice()
    }

    /// What [`Session::properties`](crate::Session::properties) will have from the beginning. Each connection has its
    /// own.
    pub fn properties(&self) -> Properties<'_> {
        Properties::of(&self.rare)
    }

    /// Says who the peer is: [`Session::principal`](crate::Session::principal). This goes before an
    /// [`Identity`] in the request's extensions.
    pub fn set_principal<P: Principal>(&mut self, principal: P) {
        properties::of(&self.rare).set_identity(Identity::new(principal));
    }

    /// The name of a header that must not be there.
    pub(crate) fn reserved(&self) -> Option<&HeaderName> {
        self.headers.keys().find(|name| {
            let reserved = [header::CONNECTION, header::UPGRADE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
            reserved.contains(name) || name.as_str().starts_with("sec-websocket-")
        })
    }

    pub(crate) fn into_parts(self) -> (HeaderMap, MaybeRare) {
        (self.headers, self.rare)
    }

    /// Who the peer is said to be.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.rare.get()?.identity()
    }
}

/// Without the values of the headers, which may be cookies.
impl fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("subprotocol", &self.subprotocol)
            .field("extension", &self.extension)
            .finish_non_exhaustive()
    }
}
