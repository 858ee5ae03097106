//! Encoding and decoding of frames (RFC 6455 §5): pure, no socket, no clock, no task.

pub mod assemble;
mod binary;
pub mod budget;
pub mod close;
pub mod compression;
mod control;
pub mod decode;
pub mod deflate;
pub mod encode;
pub mod event;
pub mod extension;
pub mod frame;
pub mod mask;
pub mod message;
pub mod role;
pub mod text;
pub mod utf8;
mod violation;

pub use crate::violation::Violation;

/// Compiles and runs the README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
