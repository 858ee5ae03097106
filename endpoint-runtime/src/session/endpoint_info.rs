//! What the application is told about an endpoint.

use std::borrow::Cow;

/// An endpoint: its path, its type, and where it is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointInfo<'a> {
    /// The path or template: with the context path for a mounted endpoint, without it for one that is about to be
    /// mounted, empty for the endpoint of a client.
    pub path: Cow<'a, str>,
    /// The type, with its module.
    pub name: &'static str,
    /// The source file of the annotation, or of the [`EndpointConfig`](crate::EndpointConfig); empty for the endpoint
    /// of a client.
    pub file: &'static str,
    /// The line in `file`.
    pub line: u32,
}

impl EndpointInfo<'_> {
    /// The same, with a path of its own.
    pub(crate) fn into_owned(self) -> EndpointInfo<'static> {
        EndpointInfo { path: Cow::Owned(self.path.into_owned()), ..self }
    }
}
