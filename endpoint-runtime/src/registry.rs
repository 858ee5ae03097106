//! What is known of an endpoint before anything is served: path, type, place in the source, options.

use crate::config::EndpointOptions;
use crate::endpoint::{Annotated, Endpoint};

/// An annotated endpoint as the registry knows it.
#[derive(Debug)]
pub struct Registration {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) options: EndpointOptions,
}

inventory::collect!(Registration);

/// An annotated endpoint type. Implemented by `#[server_endpoint]`, not by hand.
pub trait ServerEndpoint: Endpoint + Annotated {
    /// What the registry is told.
    const REGISTRATION: Registration;
    /// `Default::default`, if the type has it.
    const CONSTRUCT: Option<fn() -> Self>;
}

impl Registration {
    /// The registration of `E`. `name` is its full path, `file` and `line` are where its annotation stands.
    pub const fn of<E: ServerEndpoint>(
        name: &'static str,
        file: &'static str,
        line: u32,
        options: EndpointOptions,
    ) -> Self {
        Self { path: E::PATH, name, file, line, options }
    }
}
