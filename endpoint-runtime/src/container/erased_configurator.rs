//! A type-erased configurator, which the container calls during a handshake.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use super::serving::{Prepare, Prepared, prepare};
use crate::container::configurator::{Configurator, HandshakeResponse};
use crate::endpoint::programmatic::{Endpoint, Programmatic};
use crate::error::{Error, Kind};
use crate::handshake::extensions::ExtensionOffer;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::session::principal::Identity;

/// The configurator of an endpoint. A panic in it becomes a refusal.
#[derive(Clone)]
#[allow(missing_debug_implementations)]
pub struct Configured(Arc<dyn Hooks>);

/// [`Configurator`] without the endpoint type, which the container does not know.
trait Hooks: Send + Sync {
    fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal>;
    fn select_subprotocol<'a>(&self, supported: &[&'a str], offered: &[&'a str]) -> Option<&'a str>;
    fn negotiate_extensions<'o>(&self, offered: &'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>>;
    fn modify_handshake<'a>(
        &'a self,
        request: &'a HandshakeRequest,
        response: &'a mut HandshakeResponse,
    ) -> HookFuture<'a>;
    /// `None` means the constructor given when mounting, or `Default`.
    fn prepare(&self, request: &HandshakeRequest) -> Result<Option<Prepared>, Refusal>;
}

/// The answer of a hook, which may wait.
pub(super) type HookFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

struct Typed<E, C> {
    configurator: C,
    /// Prepares an instance that the configurator made; `None` if the instance is shared.
    prepare: Option<fn(E) -> Result<Prepared, Refusal>>,
}

impl<E: 'static, C: Configurator<E>> Hooks for Typed<E, C> {
    fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        self.configurator.check_origin(request, policy)
    }

    fn select_subprotocol<'a>(&self, supported: &[&'a str], offered: &[&'a str]) -> Option<&'a str> {
        self.configurator.select_subprotocol(supported, offered)
    }

    fn negotiate_extensions<'o>(&self, offered: &'o [ExtensionOffer<'o>]) -> Vec<&'o ExtensionOffer<'o>> {
        self.configurator.negotiate_extensions(offered)
    }

    fn modify_handshake<'a>(
        &'a self,
        request: &'a HandshakeRequest,
        response: &'a mut HandshakeResponse,
    ) -> HookFuture<'a> {
        Box::pin(self.configurator.modify_handshake(request, response))
    }

    fn prepare(&self, request: &HandshakeRequest) -> Result<Option<Prepared>, Refusal> {
        let Some(prepare) = self.prepare else { return Ok(None) };
        self.configurator.endpoint(request)?.map(prepare).transpose()
    }
}

/// An endpoint type whose instances a configurator may make.
pub trait Configurable: Sized + 'static {
    /// Erases the type of a configurator of this endpoint.
    fn configured(configurator: impl Configurator<Self>) -> Configured;
}

impl Configured {
    /// `configurator` for the endpoint `E`.
    pub fn new<E: Configurable>(configurator: impl Configurator<E>) -> Self {
        E::configured(configurator)
    }

    /// `prepare` prepares an instance that the configurator made; `None` if the instance is shared.
    pub(super) fn of<E: 'static>(
        configurator: impl Configurator<E>,
        prepare: Option<fn(E) -> Result<Prepared, Refusal>>,
    ) -> Self {
        Self(Arc::new(Typed { configurator, prepare }))
    }

    /// For an endpoint without a configurator: every method's default.
    pub(super) fn defaults() -> Self {
        struct Defaults;
        impl Configurator<()> for Defaults {}
        Self::of::<()>(Defaults, None)
    }

    /// `configurator` for an endpoint without annotations.
    pub(crate) fn programmatic<E: Endpoint>(configurator: impl Configurator<E>) -> Self {
        Self::of(configurator, Some(|endpoint| prepare(|| Ok(Programmatic(endpoint)))))
    }

    pub(crate) fn check_origin(&self, request: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        guarded(FAILED, || self.0.check_origin(request, policy))?
    }

    /// The chosen subprotocol; refuses one that the client has not offered.
    pub(crate) fn select_subprotocol(
        &self,
        supported: &[&'static str],
        offered: &[&str],
    ) -> Result<Option<Cow<'static, str>>, Refusal> {
        let Some(chosen) = guarded(FAILED, || self.0.select_subprotocol(supported, offered))? else { return Ok(None) };
        if !offered.contains(&chosen) {
            let text = format!("it selected the subprotocol {chosen:?}, which the client did not offer");
            return Err(Refusal::configurator_failed(&Error::new(Kind::User, text)));
        }
        Ok(Some(subprotocol_name(supported, chosen)))
    }

    pub(crate) fn negotiate_extensions<'o>(
        &self,
        offered: &'o [ExtensionOffer<'o>],
    ) -> Result<Vec<&'o ExtensionOffer<'o>>, Refusal> {
        guarded(FAILED, || self.0.negotiate_extensions(offered))
    }

    /// Runs the hook without a time limit; refuses if it added a reserved header.
    pub(crate) async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        let future = guarded(FAILED, || self.0.modify_handshake(request, response))?;
        guarded_future(FAILED, future).await?;
        response.check_reserved(FAILED)
    }

    /// Checks that the peer may open an endpoint for `roles`; empty `roles` admit every peer.
    pub(crate) fn admit(roles: &[&str], identity: Option<&Identity>) -> Result<(), Refusal> {
        let Some(identity) = identity else {
            return if roles.is_empty() { Ok(()) } else { Err(Refusal::unauthenticated()) };
        };
        if identity.expires_at().is_some_and(|end| end <= SystemTime::now()) {
            return Err(Refusal::unauthenticated());
        }
        let has_one = roles.is_empty() || guarded(FAILED, || identity.has_one_of(roles))?;
        if has_one { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    /// Makes the instance with the configurator, or with `default` if the configurator makes none.
    pub(crate) fn prepare(&self, request: &HandshakeRequest, default: &Prepare) -> Result<Prepared, Refusal> {
        match guarded(FAILED, || self.0.prepare(request))?? {
            Some(prepared) => Ok(prepared),
            None => default(request),
        }
    }
}

/// The name of a subprotocol for a session, which needs no memory if the name is annotated.
pub(super) fn subprotocol_name(annotated: &[&'static str], name: impl AsRef<str> + Into<String>) -> Cow<'static, str> {
    match annotated.iter().find(|annotated| **annotated == name.as_ref()) {
        Some(annotated) => Cow::Borrowed(annotated),
        None => Cow::Owned(name.into()),
    }
}

/// The refusal if a configurator does something wrong.
const FAILED: Failed = Refusal::configurator_failed;

/// Makes the refusal for a mistake of the application's code.
pub(super) type Failed = fn(&Error) -> Refusal;

/// Runs application code; a panic becomes a refusal.
pub(super) fn guarded<T>(failed: Failed, call: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| failed(&Error::panic(&*panic)))
}

/// Waits for application code; a panic becomes a refusal.
pub(super) async fn guarded_future(failed: Failed, mut future: HookFuture<'_>) -> Result<(), Refusal> {
    poll_fn(|cx| match guarded(failed, || future.as_mut().poll(cx)) {
        Ok(polled) => polled,
        Err(refusal) => Poll::Ready(Err(refusal)),
    })
    .await
}
