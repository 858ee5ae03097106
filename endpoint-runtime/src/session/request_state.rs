//! The application's states in a handshake, before there is a session.

use std::sync::Arc;

use http::Extensions;

use super::state::{State, States};
use crate::handshake::request::HandshakeRequest;

/// The states of a container, among the extensions of a request.
#[derive(Clone)]
struct Shared(Arc<States>);

/// Makes `states` available to the code that sees the request of a handshake.
pub(crate) fn share(states: &Arc<States>, extensions: &mut Extensions) {
    extensions.insert(Shared(states.clone()));
}

impl HandshakeRequest {
    /// The value that the application shares with all sessions by
    /// [`ContainerBuilder::state`](crate::ContainerBuilder::state); `None` if there is no `T`.
    ///
    /// Available while the handshake runs, like the [`extensions`](Self::extensions): to handshake hooks, configurators
    /// and constructors. In a handler it is `None`; a handler takes a [`State<T>`](State) as a parameter, or calls
    /// [`Session::state`](crate::Session::state).
    pub fn state<T: 'static>(&self) -> Option<&State<T>> {
        self.extensions().get::<Shared>()?.0.get()
    }
}
