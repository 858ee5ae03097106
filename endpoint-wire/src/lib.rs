//! The WebSocket protocol (RFC 6455 §5 and §7.4) and permessage-deflate (RFC 7692): pure, no socket, no clock, no task.
//!
//! - [`decode`] turns bytes into [`event`]s, and [`encode`] messages into bytes. Both use [`frame`], [`mask`], [`utf8`]
//!   and, if permessage-deflate was negotiated, [`deflate`].
//! - [`message`], [`text`] and [`close`] have the values that travel; [`retry_hint`] is in a close reason.
//! - [`extension`], [`compression`] and [`role`] say what a connection has agreed on.
//! - [`budget`] bounds the memory of many connections together.
//!
//! Sizes are in bytes. What only `endpoint-runtime` needs, and a library for the protocol would not show, says so.

mod assemble;
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
pub mod retry_hint;
pub mod role;
#[doc(hidden)]
pub mod source_search;
pub mod text;
pub mod utf8;
mod violation;

pub use crate::violation::Violation;

/// Compiles and runs the README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
