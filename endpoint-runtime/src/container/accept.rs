//! From a request for an endpoint to its connection: the checks, the configurator, the instance, the response.
//!
//! The order is Jakarta's: path, origin, subprotocol, extensions, the configurator's `modify_handshake`, the instance.
//! The container's own hooks run before `modify_handshake`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Response};
use http_body_util::Full;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::erased_configurator::Configured;
use super::logged_request::LoggedRequest;
use super::mounted::Mounted;
use super::response::ResponseFuture;
use super::service::Inner;
use super::serving::{PendingConnection, Prepared};
use super::upgrading::Upgrading;
use crate::config::RETRY_AFTER;
use crate::container::configurator::HandshakeResponse;
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::handshake::server::{Accepted, offered_subprotocols};
use crate::handshake::{extensions, http2, server};
use crate::limits::sessions::Places;
use crate::observe::destructors;
use crate::session::principal::Identity;
use crate::session::{MaybeRare, SessionInit, rare, request_state};
use endpoint_wire::deflate::Deflation;
use endpoint_wire::role::Role;

/// The values that a session starts with, once its handshake is accepted.
struct Beginning {
    prepared: Prepared,
    request: HandshakeRequest,
    accepted: Accepted<'static>,
    /// Headers that the application adds to the response.
    headers: HeaderMap,
    rare: MaybeRare,
    upgrade: Option<Upgrading>,
    token: TaskTrackerToken,
    places: Places,
}

impl Inner {
    /// Answers the handshake of an endpoint.
    pub(super) fn answer(
        self: &Arc<Self>,
        mounted: &Arc<Mounted>,
        params: PathParams,
        mut parts: Parts,
        transport: Transport,
    ) -> ResponseFuture {
        let transport = self.client(&mut parts, transport);
        // checked before anything of the head is copied
        let checked = self.head_limits.check(parts.method.as_str(), &parts.uri, &parts.headers);
        if let Err(refusal) = checked.and_then(|()| http2::unify(&mut parts)) {
            return self.refuse(LoggedRequest::of_parts(&parts, transport), refusal).into();
        }
        let Some(configured) = mounted.configured.clone() else {
            let opened = self.open(mounted, params, &mut parts, transport);
            return opened
                .unwrap_or_else(|refusal| self.refuse(LoggedRequest::of_parts(&parts, transport), refusal))
                .into();
        };
        let (container, mounted) = (self.clone(), mounted.clone());
        ResponseFuture::waiting(async move {
            let opened = container.open_configured(&mounted, &configured, params, &mut parts, transport).await;
            opened.unwrap_or_else(|refusal| container.refuse(LoggedRequest::of_parts(&parts, transport), refusal))
        })
    }

    /// Accepts or refuses an opening handshake, without a configurator and without hooks.
    fn open(
        &self,
        mounted: &Mounted,
        params: PathParams,
        parts: &mut Parts,
        transport: Transport,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Mounted { options, prepare, sessions, .. } = mounted;
        let subprotocols = options.subprotocols;
        let accepted =
            server::accept(parts, transport, &self.hosts, &self.origins, subprotocols, &sessions.limits.compression)?;
        // taken before the check, so that a shutdown either is seen here or waits for this token
        let token = self.tasks.token();
        self.takes_sessions()?;
        let mut places = self.enter(mounted, transport.peer_addr)?;
        let mut request = HandshakeRequest::new(parts, params, transport);
        mounted.check_params(&request)?;
        let (headers, rare) = (HeaderMap::new(), MaybeRare::new());
        let identity = parts.extensions.get::<Identity>().cloned();
        Configured::admit(options.roles, identity.as_ref())?;
        self.enter_as(mounted, identity.as_ref(), &mut places)?;
        let upgrade = Upgrading::take(parts);
        if mounted.shows_request {
            request = request.with_extensions(self.extensions(parts));
        }
        let prepared = prepare(&request)?;
        if let Some(identity) = identity {
            rare::of(&rare).set_identity(identity);
        }
        self.begin(mounted, Beginning { prepared, request, accepted, headers, rare, upgrade, token, places })
    }

    /// Accepts or refuses an opening handshake, with a configurator or hooks.
    async fn open_configured(
        &self,
        mounted: &Mounted,
        configured: &Configured,
        params: PathParams,
        parts: &mut Parts,
        transport: Transport,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Mounted { options, sessions, .. } = mounted;
        let sound = server::check(parts)?;
        self.hosts.check(sound.host, transport)?;
        let policy = self.origins.check(&parts.headers, sound.host, transport.is_secure);
        let accept_key = sound.accept_key();
        // the extensions go to the application, and no check of the head finds them afterwards
        let upgrade = Upgrading::take(parts);
        let (identity, extensions) = (parts.extensions.get::<Identity>().cloned(), self.extensions(parts));
        let request = HandshakeRequest::new(parts, params, transport).with_extensions(extensions);
        configured.check_origin(&request, policy)?;
        self.takes_sessions()?;
        let mut places = self.enter(mounted, transport.peer_addr)?;
        mounted.check_params(&request)?;

        let offered: Vec<&str> = offered_subprotocols(&parts.headers).collect();
        let subprotocol = configured.select_subprotocol(options.subprotocols, &offered)?;
        let offers = extensions::offers(&parts.headers);
        let extension = extensions::choose(configured.negotiate_extensions(&offers)?, &sessions.limits.compression);
        let accepted: Accepted<'static> = Accepted::new(accept_key, subprotocol, extension);

        let mut response = HandshakeResponse::new(accepted.subprotocol(), extension, identity);
        let (prepared, token) = self.admit(mounted, configured, &request, &mut response, &mut places).await?;
        let (headers, rare) = response.into_parts();
        self.begin(mounted, Beginning { prepared, request, accepted, headers, rare, upgrade, token, places })
    }

    /// The end of a handshake with hooks: runs them, checks the roles and the principal's cap, and makes the instance. A
    /// shutdown waits for the token.
    pub(super) async fn admit(
        &self,
        mounted: &Mounted,
        configured: &Configured,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
        places: &mut Places,
    ) -> Result<(Prepared, TaskTrackerToken), Refusal> {
        self.modify(configured, request, response).await?;
        let identity = response.identity();
        Configured::admit(mounted.options.roles, identity.as_ref())?;
        self.enter_as(mounted, identity.as_ref(), places)?;
        // checked again: a shutdown may have begun while a hook waited
        let token = self.tasks.token();
        self.takes_sessions()?;
        Ok((configured.prepare(request, &mounted.prepare)?, token))
    }

    /// Runs the container's hooks and then the endpoint's, together within the handshake timeout.
    async fn modify(
        &self,
        configured: &Configured,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        let hooks = async {
            self.ground.hooks.run(request, response).await?;
            configured.modify_handshake(request, response).await
        };
        let in_time = tokio::time::timeout(self.handshake_timeout, hooks).await;
        in_time.map_err(|_| Refusal::timed_out(RETRY_AFTER))?
    }

    /// Takes the extensions of a request, for the code of the application, and adds the container's states.
    pub(super) fn extensions(&self, parts: &mut Parts) -> Extensions {
        let mut extensions = std::mem::take(&mut parts.extensions);
        request_state::share(&self.ground.states, &mut extensions);
        extensions
    }

    pub(super) fn takes_sessions(&self) -> Result<(), Refusal> {
        if self.closing.load(Ordering::SeqCst) { Err(Refusal::shutting_down(self.drain.retry_after())) } else { Ok(()) }
    }

    /// Answers 101, over HTTP/2 200; the connection then runs in its own task.
    fn begin(&self, mounted: &Mounted, beginning: Beginning) -> Result<Response<Full<Bytes>>, Refusal> {
        let Beginning { prepared, mut request, mut accepted, headers, rare, upgrade, token, places } = beginning;
        #[cfg(feature = "otel")]
        rare::remember_span(&rare);
        let sessions = &mounted.sessions;
        let upgrade = upgrade.ok_or_else(Refusal::not_upgradable)?;
        // a session keeps no values of the layers in front
        destructors::run("a request's extensions", request.take_extensions());
        let (limits, budget) = (&sessions.limits, &self.compression_budget);
        let deflation = accepted
            .extension()
            .and_then(|it| Deflation::new(it, Role::Server, &limits.compression, budget))
            .map(Box::new);
        if deflation.is_none() {
            accepted.decline_extension();
        }
        let path = sessions.clone();
        let upgrade = Box::pin(async move {
            match upgrade.socket().await {
                Ok(socket) => Some(socket),
                Err(error) => {
                    tracing::debug!(%error, path = &*path.path, "the upgrade failed");
                    None
                }
            }
        });
        let mut response = accepted.response::<Full<Bytes>>();
        self.handshakes.add(response.status().as_u16());
        response.headers_mut().extend(headers);
        let (subprotocol, sessions) = (accepted.into_subprotocol(), sessions.clone());
        prepared(PendingConnection {
            upgrade,
            init: SessionInit { request, response: None, subprotocol, deflation, endpoint: sessions, rare },
            guards: mounted.guards.clone(),
            token,
            places,
            #[cfg(feature = "adopted")]
            ends: None,
        });
        Ok(response)
    }
}
