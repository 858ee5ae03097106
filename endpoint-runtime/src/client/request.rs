//! Builder for a client connection and its opening request.

use std::fmt::Display;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};

use super::container::ClientContainer;
use super::opening_request::OpeningRequest;
use crate::container::registration::ClientEndpoint;
use crate::endpoint::programmatic::{Endpoint, Programmatic};
use crate::error::Error;
use crate::handshake::client::{OURS, is_subprotocol};
use crate::session::Session;

/// A connection to open: its URI and the optional parts of the opening request (Jakarta's `ClientEndpointConfig` with
/// its `beforeRequest`).
#[derive(Debug)]
#[must_use]
pub struct ClientRequest {
    pub(super) container: ClientContainer,
    pub(super) opening: OpeningRequest,
}

impl ClientContainer {
    /// Connects `endpoint` to the server at `uri`, such as `ws://example.org/chat?name=x`, with default settings. See
    /// [`ClientRequest::connect`].
    ///
    /// # Errors
    /// As [`ClientRequest::connect`].
    pub async fn connect<E: ClientEndpoint>(&self, endpoint: E, uri: impl Into<String>) -> Result<Session, Error> {
        self.request(uri).connect(endpoint).await
    }

    /// Connects an endpoint without annotations to the server at `uri`. See [`ClientRequest::connect_endpoint`].
    ///
    /// # Errors
    /// As [`ClientRequest::connect`].
    pub async fn connect_endpoint<E: Endpoint>(&self, endpoint: E, uri: impl Into<String>) -> Result<Session, Error> {
        self.request(uri).connect_endpoint(endpoint).await
    }

    /// Starts a request with its own settings: headers, subprotocols, an origin, values in the URI.
    ///
    /// Path and query of the URI are percent-encoded as in browsers (WHATWG URL) unless they already are: `中文` is sent
    /// as `%E4%B8%AD%E6%96%87`, a space as `%20`. `{name}` in the path is a variable and needs a
    /// [`path_param`](ClientRequest::path_param). A fragment, a control character and a host that is not ASCII are
    /// errors that name the character and what to write; write an international host name in its ASCII form (punycode).
    pub fn request(&self, uri: impl Into<String>) -> ClientRequest {
        ClientRequest { container: self.clone(), opening: OpeningRequest::new(uri.into(), self.0.connect_timeout) }
    }
}

impl ClientRequest {
    /// Sets the variable `{name}` of the URI's path. The value is percent-encoded as a whole: a `/` in it does not
    /// separate segments. The value must not be empty, and no segment may become `.` or `..`. It is in
    /// [`Session::path_params`] as well.
    ///
    /// ```no_run
    /// # use endpoint_runtime::prelude::*;
    /// # #[client_endpoint] struct Bot;
    /// # async fn f(container: ClientContainer) -> Result<(), Error> {
    /// // asks for /chat/%E4%B8%AD%E6%96%87?name=a%26b
    /// let request = container.request("ws://example.org/chat/{room}").path_param("room", "中文").query_param("name", "a&b");
    /// let session = request.connect(Bot).await?;
    /// # Ok(()) }
    /// ```
    pub fn path_param(mut self, name: impl Into<String>, value: impl Display) -> Self {
        let (name, value) = (name.into(), value.to_string());
        self.opening.values.path.retain(|(other, _)| *other != name);
        self.opening.values.path.push((name, value));
        self
    }

    /// Adds `name=value` to the query of the URI, both percent-encoded; call it again for more.
    pub fn query_param(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.opening.values.query.push((name.into(), value.to_string()));
        self
    }

    /// Adds a header to the request, such as `Authorization` or `Cookie`. The headers of the handshake itself cannot be
    /// set; `Host` can.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(_)) if OURS.contains(&name) => {
                self.opening.wrong(format!("the header {name} is reserved for the handshake"))
            }
            (Ok(name), Ok(value)) => {
                self.opening.headers.append(name, value);
            }
            // omits the value, which may be a secret
            (Ok(name), Err(_)) => {
                self.opening.wrong(format!("the value of the header {name} contains an invalid character"))
            }
            (Err(_), _) => self.opening.wrong("a header name contains an invalid character".to_owned()),
        }
        self
    }

    /// Offers a subprotocol; call it again for more, in order of preference. This replaces the subprotocols of the
    /// endpoint's attribute.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if !is_subprotocol(&name) {
            self.opening.wrong(format!("{name:?} is not a valid subprotocol name"));
        } else if !self.opening.subprotocols.contains(&name) {
            self.opening.subprotocols.push(name);
        }
        self
    }

    /// Sets the `Origin` header, as browsers do: `https://example.org`. Default: no such header.
    pub fn origin<V: TryInto<HeaderValue>>(mut self, origin: V) -> Self {
        match origin.try_into() {
            Ok(origin) => {
                self.opening.headers.insert(header::ORIGIN, origin);
            }
            Err(_) => self.opening.wrong("the origin contains an invalid character".to_owned()),
        }
        self
    }

    /// Time limit for connecting, until the server has answered the handshake. Default: the container's.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.opening.timeout = limit;
        self
    }

    /// Connects, and serves the session in its own task. Resolves when `on_open` has returned; messages wait until
    /// then. If `on_open` fails, `on_error` is called and the session is closed with 1011.
    ///
    /// The addresses of the host are tried 250 ms apart, alternating between IPv6 and IPv4, or immediately after a
    /// failure; the first that answers is used (RFC 8305). Through a [`Proxy`](crate::Proxy) the session's `peer_addr`
    /// is that of the proxy. A user and a password in the URI are sent as basic authentication (RFC 7617), unless an
    /// `Authorization` header was set.
    ///
    /// # Errors
    /// [`Error::is_handshake`] if the request is invalid, if the server or its proxy refuses, or if the response is
    /// wrong; the response is [`Error::response`]. [`Error::is_tls`] if the server is not trusted. [`Error::is_io`] if
    /// the server cannot be reached; [`Error::is_timeout`] if connecting took too long. [`Error::is_decode`] if a
    /// `#[query_param]` of a handler is not in the URI; [`Error::is_deployment`] if a `State<T>` is missing. In these
    /// cases no handler was called. [`Error::is_closed`] if [`ClientContainer::shutdown`] was called before this
    /// returned; a session that was being opened is closed like every other.
    ///
    /// # Cancel safety
    /// A dropped future closes the connection; a session that was already opened ends with 1001.
    pub async fn connect<E: ClientEndpoint>(self, endpoint: E) -> Result<Session, Error> {
        let (session, _) = self.container.open(endpoint, &self.opening, &self.container.0.closing).await?;
        Ok(session)
    }

    /// Connects an endpoint without annotations (Jakarta's `connectToServer(Endpoint, ClientEndpointConfig, URI)`). Its
    /// message handlers are those that `on_open`, or any holder of the session, adds to the session.
    ///
    /// ```no_run
    /// use endpoint_runtime::{ClientContainer, Endpoint, Error, MessageHandler, Session};
    ///
    /// struct Listener;
    ///
    /// impl Endpoint for Listener {
    ///     async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
    ///         session.add_message_handler(MessageHandler::text(|_, line: String| println!("{line}")))
    ///     }
    /// }
    ///
    /// # async fn f() -> Result<(), Error> {
    /// let session = ClientContainer::new().connect_endpoint(Listener, "ws://127.0.0.1:8080/news").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Same as [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Same as [`connect`](Self::connect).
    pub async fn connect_endpoint<E: Endpoint>(self, endpoint: E) -> Result<Session, Error> {
        self.connect(Programmatic(endpoint)).await
    }
}
