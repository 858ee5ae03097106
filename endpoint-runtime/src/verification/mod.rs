//! What only the checks of the crate see: entry points for fuzzing and measuring, and model checks.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(measuring)]
#[doc(hidden)]
pub mod measuring;
#[cfg(all(test, model_check))]
mod models;
