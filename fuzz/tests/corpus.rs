//! The seeds of each target hold without cargo-fuzz as well; `.cargo/config.toml` opens the door.

#![cfg(fuzzing)]

use std::{fs, path::Path};

use endpoint_fuzz::{
    cluster_packet, decode, deflate, differential, encode, forwarded, handshake, nesting, observe, proxy_header,
    template,
};

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    for seed in fs::read_dir(&seeds).expect("the folder of the seeds") {
        let path = seed.expect("a seed").path();
        // named when the test fails
        println!("{}", path.display());
        run(&fs::read(&path).expect("a file"));
    }
}

#[test]
fn seeds_of_cluster_packet_hold() {
    replay("cluster_packet", cluster_packet::run);
}

#[test]
fn seeds_of_decode_hold() {
    replay("decode", decode::run);
}

#[test]
fn seeds_of_deflate_hold() {
    replay("deflate", deflate::run);
}

#[test]
fn seeds_of_differential_hold() {
    replay("differential", differential::run);
}

#[test]
fn seeds_of_encode_hold() {
    replay("encode", encode::run);
}

#[test]
fn seeds_of_forwarded_hold() {
    replay("forwarded", forwarded::run);
}

#[test]
fn seeds_of_handshake_hold() {
    replay("handshake", handshake::run);
}

#[test]
fn seeds_of_nesting_hold() {
    replay("nesting", nesting::run);
}

#[test]
fn seeds_of_observe_hold() {
    replay("observe", observe::run);
}

#[test]
fn seeds_of_proxy_header_hold() {
    replay("proxy_header", proxy_header::run);
}

#[test]
fn seeds_of_template_hold() {
    replay("template", template::run);
}
