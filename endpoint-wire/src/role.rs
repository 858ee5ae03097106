//! Which side of a connection this is.

/// The side that we are. A client masks what it sends, a server never does (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The side that was connected to.
    #[default]
    Server,
    /// The side that connected.
    Client,
}

impl Role {
    /// That of the peer.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}
