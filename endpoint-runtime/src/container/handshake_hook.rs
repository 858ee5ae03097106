//! Handshake hooks of a whole container, which run for every endpoint.

use std::fmt;
use std::future::Future;

use super::erased_configurator::{HookFuture, guarded, guarded_future};
use crate::container::configurator::HandshakeResponse;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;

/// Takes part in the handshakes of every endpoint of a container; see
/// [`ContainerBuilder::handshake`](crate::ContainerBuilder::handshake).
///
/// An `async fn` with these two parameters is a hook. An `async` closure is one too, if it does not borrow the variables
/// that it captures. For a hook with data of its own, implement the trait for a struct. A value that handlers use as well
/// is a state of the container: see [`HandshakeRequest::state`].
///
/// ```no_run
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::{HandshakeHook, HandshakeResponse};
///
/// struct Region(&'static str);
///
/// impl HandshakeHook for Region {
///     async fn handshake(&self, _: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
///         response.headers_mut().insert("x-region", http::HeaderValue::from_static(self.0));
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let container = ServerContainer::builder().discover().handshake(Region("eu")).build()?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handshake hook",
    label = "cannot take part in a handshake",
    note = "write `async fn hook(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal>`; for a hook with values of its own, implement `HandshakeHook` for a struct that has them"
)]
pub trait HandshakeHook: Send + Sync + 'static {
    /// Adds headers to the response, sets properties of the future session, sets the principal, or refuses with any
    /// status, headers and body.
    ///
    /// It may wait, for example for a database. All hooks of the container and the endpoint's
    /// [`modify_handshake`](crate::Configurator::modify_handshake) together have the
    /// [`handshake_timeout`](crate::ContainerBuilder::handshake_timeout); then the handshake is refused with 503. A
    /// panic refuses with 500.
    ///
    /// # Errors
    /// The refusal; no further hook runs.
    ///
    /// # Cancel safety
    /// The future is dropped on timeout or if the client disconnects: no session opens, and no handler runs.
    fn handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// A function that is a hook, for one lifetime of its arguments.
#[doc(hidden)]
pub trait HookFn<'a> {
    /// The future that it returns.
    type Answer: Future<Output = Result<(), Refusal>> + Send;

    /// Calls the function.
    fn answer(&self, request: &'a HandshakeRequest, response: &'a mut HandshakeResponse) -> Self::Answer;
}

impl<'a, F, A> HookFn<'a> for F
where
    F: Fn(&'a HandshakeRequest, &'a mut HandshakeResponse) -> A,
    A: Future<Output = Result<(), Refusal>> + Send,
{
    type Answer = A;

    fn answer(&self, request: &'a HandshakeRequest, response: &'a mut HandshakeResponse) -> A {
        self(request, response)
    }
}

#[diagnostic::do_not_recommend]
impl<F> HandshakeHook for F
where
    F: for<'a> HookFn<'a> + Send + Sync + 'static,
{
    async fn handshake(&self, request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        self.answer(request, response).await
    }
}

/// [`HandshakeHook`] without its type.
trait Hook: Send + Sync {
    fn handshake<'a>(&'a self, request: &'a HandshakeRequest, response: &'a mut HandshakeResponse) -> HookFuture<'a>;
}

impl<H: HandshakeHook> Hook for H {
    fn handshake<'a>(&'a self, request: &'a HandshakeRequest, response: &'a mut HandshakeResponse) -> HookFuture<'a> {
        Box::pin(HandshakeHook::handshake(self, request, response))
    }
}

/// The handshake hooks of a container, in the order in which they run.
#[derive(Default)]
pub(crate) struct Hooks(Vec<Box<dyn Hook>>);

impl Hooks {
    pub(crate) fn add(&mut self, hook: impl HandshakeHook) {
        self.0.push(Box::new(hook));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the hooks without a time limit, until one refuses.
    pub(super) async fn run(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        for hook in &self.0 {
            let future = guarded(Refusal::hook_failed, || hook.handshake(request, response))?;
            guarded_future(Refusal::hook_failed, future).await?;
            response.check_reserved(Refusal::hook_failed)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("len", &self.0.len()).finish()
    }
}
