//! Client or server.

/// Our side of a connection. A client masks the frames it sends, a server never does (RFC 6455 §5.1).
///
/// Exhaustive: a connection has two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The side that accepted the connection.
    #[default]
    Server,
    /// The side that opened the connection.
    Client,
}

impl Role {
    /// The peer's role.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}
