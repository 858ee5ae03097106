//! The benchmark of this project beside its peers: a load generator, the peers, a floor, and a driver that measures them.
//!
//! `bin/compare.rs` and `bin/instructions.rs` drive, `bin/load.rs` makes the load, the other binaries are servers. See
//! `README.md`.

pub mod bench;
pub mod callgrind;
pub mod chart;
pub mod frame;
pub mod handshake;
pub mod load;
pub mod peer;
pub mod process;
pub mod script;
pub mod servers;
pub mod stats;
pub mod strace;
pub mod table;
pub mod workload;
