//! The chapters of the guide and the READMEs as documentation, so that `cargo test --doc -p guide` compiles each snippet.
//!
//! `build.rs` lists the files; a new chapter needs no entry here.

include!(concat!(env!("OUT_DIR"), "/chapters.rs"));
