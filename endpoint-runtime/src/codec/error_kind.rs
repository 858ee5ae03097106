//! How generated code converts the error of a handler: by what the error is.
//!
//! The two traits have a method of the same name. For a value `error`, `(&error).__endpoint_error_kind()` finds that of
//! [`ReportKind`] if its bounds hold, because it needs no further reference, and else that of [`BoxedKind`].

use std::error::Error as StdError;

use super::IntoError;
use crate::error::Error;

/// An error that is a handle of the error inside, such as `anyhow::Error`. Turned into a boxed error it would hide the
/// type of that error.
pub trait ReportKind: AsRef<dyn StdError + Send + Sync> + Send + Sync + Sized + 'static {
    /// Converts it as it is.
    fn __endpoint_error_kind(&self) -> AsReport {
        AsReport
    }
}

impl<E: AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static> ReportKind for E {}

/// Any other error.
pub trait BoxedKind {
    /// Converts it to a boxed error.
    fn __endpoint_error_kind(&self) -> AsBoxed {
        AsBoxed
    }
}

impl<E> BoxedKind for &E {}

/// The conversion of [`ReportKind`].
#[derive(Debug)]
pub struct AsReport;

impl AsReport {
    /// Converts the error.
    pub fn into_error<E: ReportKind>(self, error: E) -> Error {
        Error::report(error)
    }
}

/// The conversion of [`BoxedKind`].
#[derive(Debug)]
pub struct AsBoxed;

impl AsBoxed {
    /// Converts the error.
    pub fn into_error<E: IntoError>(self, error: E) -> Error {
        error.into_error()
    }
}
