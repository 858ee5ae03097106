//! What a handler holds.

use std::sync::Arc;

use crate::path::PathParams;

/// One conversation with one peer.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path_params: PathParams,
}

impl Session {
    /// The variables of the path.
    pub fn path_params(&self) -> &PathParams {
        &self.0.path_params
    }
}
