//! The bodies of the fuzz targets: each takes bytes and panics where something that must hold does not.

#![cfg(fuzzing)]

pub mod cluster_packet;
pub mod decode;
pub mod deflate;
pub mod differential;
pub mod encode;
pub mod forwarded;
pub mod handshake;
pub mod input;
pub mod nesting;
pub mod observe;
pub mod proxy_header;
pub mod template;
pub mod wire;
