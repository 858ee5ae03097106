//! The authenticated user of a session, and when the authentication expires.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// An authenticated user (Jakarta's `Principal`), implemented by a type of the application.
///
/// A [`Configurator`](crate::Configurator) sets it in the handshake
/// ([`HandshakeResponse::set_principal`](crate::HandshakeResponse::set_principal)); handlers read it with
/// [`Session::principal`](crate::Session::principal).
///
/// ```
/// use std::time::SystemTime;
///
/// use endpoint_runtime::Principal;
///
/// struct Member { login: String, is_admin: bool, token_ends: SystemTime }
///
/// impl Principal for Member {
///     fn name(&self) -> &str {
///         &self.login
///     }
///     fn has_role(&self, role: &str) -> bool {
///         role == "member" || role == "admin" && self.is_admin
///     }
///     fn expires_at(&self) -> Option<SystemTime> {
///         Some(self.token_ends)
///     }
/// }
/// ```
pub trait Principal: Send + Sync + 'static {
    /// The user's name: unique to the user, and the same in all the user's sessions. Called once, when the principal is
    /// set.
    fn name(&self) -> &str;

    /// Whether the user has this role. By default, users have no roles.
    fn has_role(&self, role: &str) -> bool {
        let _ = role;
        false
    }

    /// When the session ends with 1008 and the phrase "session expired", unless
    /// [`Session::reauthenticate`](crate::Session::reauthenticate) is called first. `None`, the default, means never.
    /// Called once, when the principal is set.
    fn expires_at(&self) -> Option<SystemTime> {
        None
    }
}

/// A principal of any type, in a form that fits into the extensions of a request: a `tower` layer that authenticates
/// the user inserts it there for the container behind it.
///
/// The session of a request with an `Identity` in its extensions begins with that principal, and roles are checked
/// against it. A [`Configurator`](crate::Configurator) may still set another.
///
/// ```
/// use endpoint_runtime::{Identity, Principal};
///
/// struct User(String);
///
/// impl Principal for User {
///     fn name(&self) -> &str {
///         &self.0
///     }
/// }
///
/// /// What a layer does once it has read a cookie or a token.
/// fn logged_in<B>(request: &mut http::Request<B>, name: &str) {
///     request.extensions_mut().insert(Identity::new(User(name.to_owned())));
/// }
/// ```
#[derive(Clone)]
pub struct Identity {
    own: Arc<dyn Any + Send + Sync>,
    principal: Arc<dyn Principal>,
    name: Arc<str>,
    expires_at: Option<SystemTime>,
}

impl Identity {
    /// Wraps a principal. Reads its name and expiry time once, here, where the application's code may panic.
    pub fn new<P: Principal>(principal: P) -> Self {
        let own = Arc::new(principal);
        Self { name: own.name().into(), expires_at: own.expires_at(), principal: own.clone(), own }
    }

    /// The principal, if it is a `P`.
    pub(crate) fn principal<P: Principal>(&self) -> Option<Arc<P>> {
        self.own.clone().downcast().ok()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.principal.has_role(role)
    }

    pub(crate) fn has_one_of(&self, roles: &[&str]) -> bool {
        roles.iter().any(|role| self.has_role(role))
    }

    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.name()).finish()
    }
}
