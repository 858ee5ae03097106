//! A crate of an application that re-exports the runtime.

pub use endpoint_runtime as websocket;
