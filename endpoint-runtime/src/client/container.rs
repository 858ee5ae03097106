//! The client container: it opens connections, and holds the sets of their sessions.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
#[cfg(feature = "tls")]
use tokio::time::timeout_at;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dial;
use super::handshake::{Agreed, exchange};
use super::opening_request::OpeningRequest;
use super::proxy::Proxy;
use super::uri::Target;
use crate::config::{Compression, EndpointOptions, Limits, SHUTDOWN_REST};
use crate::container::registration::{ClientEndpoint, Handlers};
use crate::container::serving::{Opened, Serving};
use crate::container::{Shutdown, end_all, run_shutdown, wait_for_tasks};
use crate::endpoint::programmatic::{Endpoint, Programmatic};
use crate::error::{Error, Kind};
use crate::handshake::client::Offer;
use crate::handshake::head::HeadLimits;
use crate::handshake::path::PathParams;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::send_queue::FAR;
use crate::session::audience::Room;
use crate::session::state::States;
use crate::session::{Groups, OpenSessions, OpenSet, Session, SessionId, SessionInit};
use crate::transport::keepalive::Keepalive;
#[cfg(feature = "tls")]
use crate::transport::trust::Trust;
use endpoint_wire::budget::{Budget, Budgets};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::deflate::Deflation;
use endpoint_wire::extension::{Extension, Parameter};
use endpoint_wire::role::Role;

/// A container that connects endpoints to servers; holds their settings and open sessions (Jakarta's
/// `WebSocketContainer`).
///
/// Clones share the same container.
///
/// ```no_run
/// use endpoint_runtime::prelude::*;
///
/// #[client_endpoint]
/// struct Bot;
///
/// impl Bot {
///     #[on_message]
///     fn heard(&mut self, text: &str) {
///         println!("{text}");
///     }
/// }
///
/// # async fn f() -> Result<(), Error> {
/// let session = ClientContainer::new().connect(Bot, "ws://127.0.0.1:8080/chat/blue").await?;
/// session.basic_remote().send_text("hello").await?;
/// session.close();
/// # Ok(()) }
/// ```
///
/// Each session runs in its own task and ends when either side closes it. Dropping the [`Session`] or the container
/// does not close it.
///
/// Redirects are not followed: a response with 301 or 307 is an error like every other refusal, and its `Location` is
/// in [`Error::response`].
#[derive(Clone)]
pub struct ClientContainer(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) limits: Limits,
    pub(super) connect_timeout: Duration,
    pub(super) head_limits: HeadLimits,
    pub(super) keepalive: Keepalive,
    pub(super) compression_budget: Arc<Budget>,
    pub(super) states: Arc<States>,
    /// Calls on the builder that contradict each other; every connect reports them.
    pub(super) mistakes: Vec<String>,
    pub(super) groups: Arc<Groups>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) proxy: Proxy,
    #[cfg(feature = "tls")]
    pub(super) trust: Trust,
    /// The sessions of each endpoint type that was connected. A program has few types.
    pub(super) sets: Mutex<Vec<(TypeId, Arc<OpenSet>)>>,
    pub(super) tasks: TaskTracker,
    /// The reconnecting tasks, which are not connections.
    pub(super) keepers: TaskTracker,
    /// Also ends the reconnecting tasks.
    pub(super) closing: CancellationToken,
}

impl ClientContainer {
    /// The open sessions of all endpoints.
    pub fn sessions(&self) -> OpenSessions {
        OpenSessions::of(self.sets().into_iter())
    }

    /// The open session with this ID, as [`ServerContainer::session`](crate::ServerContainer::session).
    pub fn session(&self, id: SessionId) -> Option<Session> {
        self.0.groups.session(id, || self.sessions())
    }

    /// The room of this name ([`Session::join`]).
    pub fn room(&self, name: impl AsRef<str>) -> Room {
        Room::new(&self.0.groups, name.as_ref())
    }

    /// The sessions that are in at least one of these rooms now, each once.
    pub fn rooms(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> OpenSessions {
        self.0.groups.sessions_in(names)
    }

    /// Ends every session with 1001 and waits for all of them. From now on connecting fails ([`Error::is_closed`]).
    /// Every pending `connect` fails immediately, at whatever point it is; the shutdown does not wait for those.
    ///
    /// Queued messages are sent first, and every `on_close` runs. After `limit` the remaining connections are dropped.
    ///
    /// Called by a handler of this container, it returns at once, as
    /// [`ServerContainer::shutdown`](crate::ServerContainer::shutdown) does.
    ///
    /// # Cancel safety
    /// If the future is dropped, the sessions still end, but the slow ones are not dropped after `limit`.
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        self.0.closing.cancel();
        let container = self.clone();
        let is_in_handler = self.sets().iter().any(|set| set.is_in_handler());
        run_shutdown(is_in_handler, self.0.tasks.len(), async move { container.shut_down(limit).await }).await
    }

    async fn shut_down(&self, limit: Duration) -> Shutdown {
        let started = Instant::now();
        self.0.keepers.close();
        let sets = self.sets();
        let reason = CloseReason::truncating(CloseCode::GoingAway, "the client is shutting down");
        let shutdown = end_all(|| sets.iter().cloned(), reason, &self.0.tasks, limit).await;
        // each task waits only for its session; a closure that blocks its thread cannot be interrupted
        let rest = limit.saturating_sub(started.elapsed()).max(SHUTDOWN_REST);
        let _ = timeout(rest, self.0.keepers.wait()).await;
        wait_for_tasks(&self.0.groups, started + limit.min(FAR)).await;
        shutdown
    }

    fn sets(&self) -> Vec<Arc<OpenSet>> {
        let sets = self.0.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.iter().map(|(_, set)| set.clone()).collect()
    }

    /// The set of an endpoint's sessions, created for the first of them.
    fn set_of<E: ClientEndpoint>(&self) -> Arc<OpenSet> {
        let mut sets = self.0.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, set)) = sets.iter().find(|(id, _)| *id == TypeId::of::<E>()) {
            return set.clone();
        }
        let limits = self.0.limits.with(&E::OPTIONS);
        let inner = &self.0;
        let (states, groups, budgets) = (inner.states.clone(), inner.groups.clone(), inner.budgets.clone());
        let set = OpenSet::new("", E::name(), limits).with(states, groups, budgets);
        let set = Arc::new(set.annotated(Handlers::of::<E>().message_kinds()));
        sets.push((TypeId::of::<E>(), set.clone()));
        set
    }

    /// The compression to offer: off if the budget cannot cover the largest agreement it may lead to.
    fn affordable(&self, compression: &Compression) -> Compression {
        let no_context_takeover = [Parameter::ServerNoContextTakeover, Parameter::ClientNoContextTakeover];
        let most = no_context_takeover.into_iter().filter(|_| !compression.takes_over());
        let most = Extension::permessage_deflate(most);
        let fits = Deflation::new(most, Role::Client, compression, &self.0.compression_budget).is_some();
        if fits { *compression } else { Compression::OFF }
    }

    /// Connects once and waits until `on_open` has returned; `stop` ends this at any point.
    pub(super) async fn open<E: ClientEndpoint>(
        &self,
        endpoint: E,
        request: &OpeningRequest,
        stop: &CancellationToken,
    ) -> Result<(Session, oneshot::Receiver<CloseReason>), Error> {
        let Serving { session, opened, ended } = self.establish(endpoint, request, stop).await?;
        // ends the session if the caller drops this future, since the caller never gets the session then
        let mut unowned = Unowned(Some(session.clone()));
        let stopped = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            // fails if the runtime shuts down meanwhile
            _ = opened => false,
        };
        unowned.0 = None;
        if stopped {
            self.end(&session);
            return Err(stopped_while_connecting());
        }
        Ok((session, ended))
    }

    /// Connects once and starts serving the session. `stop` ends this at any point; its last check is just before there
    /// is a session.
    pub(super) async fn establish<E: ClientEndpoint>(
        &self,
        endpoint: E,
        request: &OpeningRequest,
        stop: &CancellationToken,
    ) -> Result<Serving, Error> {
        let (agreed, init) = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(stopped_while_connecting()),
            agreed = self.agree::<E>(request) => agreed?,
        };
        // taken before the check, so that a shutdown either is seen here or waits for this session; and no earlier, so
        // that it does not wait for an attempt that is not polled
        let token = self.0.tasks.token();
        if stop.is_cancelled() {
            return Err(stopped_while_connecting());
        }
        Ok(Opened { upgraded: agreed.upgraded, early: agreed.early, init, token }.serve(endpoint))
    }

    /// Ends a session whose `stop` was cancelled. A shutdown ends its sessions itself, with its own reason.
    pub(super) fn end(&self, session: &Session) {
        if !self.0.closing.is_cancelled() {
            session.close();
        }
    }

    /// Runs all steps up to an accepted handshake: name, TCP, proxy, TLS, handshake.
    async fn agree<E: ClientEndpoint>(&self, request: &OpeningRequest) -> Result<(Agreed, SessionInit), Error> {
        let deadline = Instant::now() + request.timeout.min(FAR);
        let sessions = self.set_of::<E>();
        can_be_served::<E>(&sessions.limits, &self.0.states, &self.0.mistakes)?;
        let target = Target::parse(&request.uri, &request.values)?;
        let subprotocols = request.offered(&E::OPTIONS);
        let compression = self.affordable(&sessions.limits.compression);
        let offer = Offer::new(rand::random(), subprotocols, compression);
        let head = request.head(&target, &offer)?;
        let path_params: PathParams = request.values.path.iter().map(|(name, value)| (&**name, &**value)).collect();
        let transport = Transport { is_secure: target.is_secure, ..Transport::default() };
        let mut asked = HandshakeRequest::new(&head, path_params, transport);
        Handlers::of::<E>().check_query(&asked)?;

        #[cfg(not(feature = "tls"))]
        if target.is_secure {
            return Err(Error::new(Kind::Tls, "wss:// needs the cargo feature `tls` of endpoint-runtime"));
        }
        let limits = self.0.head_limits;
        let stream = dial::dial(&target, &self.0.proxy, limits, deadline).await?;
        self.0.keepalive.apply(&stream, sessions.limits.send_timeout);
        asked.learn_addresses(|| stream.peer_addr().ok(), || stream.local_addr().ok());
        let head = Request::from_parts(head, Empty::<Bytes>::new());
        let mut agreed = match target.is_secure {
            #[cfg(feature = "tls")]
            true => {
                let late = |_| Error::new(Kind::Timeout, format!("TLS handshake with {} timed out", target.host));
                let connecting = self.0.trust.connect(&target.host, stream);
                let stream = timeout_at(deadline, connecting).await.map_err(late)??;
                exchange(TokioIo::new(stream), head, &offer, limits, deadline).await?
            }
            _ => exchange(TokioIo::new(stream), head, &offer, limits, deadline).await?,
        };
        let deflation = agreed.extension.take().map(|extension| {
            let deflation = Deflation::new(extension, Role::Client, &compression, &self.0.compression_budget);
            // the budget had space when compression was offered; another attempt will not offer it
            let used_up = || {
                let cause = io::Error::from(io::ErrorKind::OutOfMemory);
                Error::with_source(Kind::Handshake, "the compression budget is exhausted", cause)
            };
            deflation.map(Box::new).ok_or_else(used_up)
        });
        let init = SessionInit {
            request: asked,
            subprotocol: agreed.subprotocol.take().map(Cow::Owned),
            response: Some(Box::new(std::mem::take(&mut agreed.response))),
            deflation: deflation.transpose()?,
            endpoint: sessions,
            rare: <_>::default(),
        };
        Ok((agreed, init))
    }
}

fn stopped_while_connecting() -> Error {
    Error::new(Kind::Closed, "the connection was closed before it was open, by a shutdown or by `close`")
}

/// A session that the caller has not received yet; ends it on drop.
struct Unowned(Option<Session>);

impl Drop for Unowned {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            let reason = CloseReason::truncating(CloseCode::GoingAway, "the connection attempt was cancelled");
            session.send_queue().close(reason.by(Initiator::Application));
        }
    }
}

impl<E: Endpoint> ClientEndpoint for Programmatic<E> {
    fn name() -> &'static str {
        std::any::type_name::<E>()
    }

    const OPTIONS: EndpointOptions = EndpointOptions::DEFAULT;
}

/// Checks that the settings make sense and that every state the handlers ask for is provided.
fn can_be_served<E: ClientEndpoint>(limits: &Limits, states: &States, mistakes: &[String]) -> Result<(), Error> {
    let mut mistakes = mistakes.to_vec();
    mistakes.extend(limits.compression.mistake());
    mistakes.extend(Handlers::of::<E>().missing(states).map(|wanted| states.missing(wanted)));
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Deploy, format!("{} cannot be connected: {}", E::name(), mistakes.join("; "))))
}

impl fmt::Debug for ClientContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientContainer").field("sessions", &self.sessions().len()).finish_non_exhaustive()
    }
}
