//! Why an engine cannot be used.

use std::error::Error as StdError;
use std::fmt;

use endpoint_runtime::BoxError;

/// The reason why [`Redis`](crate::Redis) cannot be used, with the step that helps. It never contains a password.
#[derive(Debug)]
pub struct Error {
    text: String,
    source: Option<BoxError>,
}

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }

    pub(crate) fn caused_by(text: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { text: text.into(), source: Some(source.into()) }
    }
}

/// So that `?` works where the errors of `endpoint_runtime` are returned.
impl From<Error> for endpoint_runtime::Error {
    fn from(error: Error) -> Self {
        Self::user(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
