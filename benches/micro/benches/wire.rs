//! Measures the modules of `endpoint-wire` one by one: reading a header, unmasking, checking UTF-8, encoding, decoding
//! a batch.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use endpoint_wire::decode::Decoder;
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::frame::{self, OpCode};
use endpoint_wire::role::Role;
use endpoint_wire::{mask, utf8};

/// A short message, a page, a large message, a huge one.
const SIZES: [(&str, usize); 4] = [("20 B", 20), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("1 MiB", 1 << 20)];

/// Seven bits in each byte: what was ASCII is ASCII again after being masked twice or once. So a batch that is decoded
/// in place can be decoded again, without a copy in what is measured.
const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// A header of up to 125 bytes, the mask included: where the payload of a short message begins in a read buffer.
const SHORT_HEADER: usize = 6;

/// An endpoint that takes messages whole.
const WHOLE: Delivery = Delivery::Whole { limit: 1 << 20 };

criterion_group!(wire, header, unmask, is_utf8, encode, decode);
criterion_main!(wire);

fn header(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    for (name, size) in [("7 bits", 20), ("16 bits", 1 << 10), ("64 bits", 1 << 20)] {
        let frame = client_frame(0x81, &vec![b'x'; size]);
        let head = &frame[..frame.len() - size];
        let parse = |head| frame::parse(head, Role::Server, false).ok().flatten();
        assert_eq!(parse(head).map(|header| (header.len, header.payload)), Some((head.len(), size as u64)));
        group.bench_function(name, |b| b.iter(|| parse(black_box(head))));
    }
}

fn unmask(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask");
    for (name, size) in SIZES {
        let mut buffer = vec![b'x'; SHORT_HEADER + size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| {
            b.iter(|| mask::apply(black_box(&mut buffer[SHORT_HEADER..]), black_box(KEY), 0));
        });
    }
}

fn is_utf8(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    for (kind, text) in [("ascii", "The quick brown fox. "), ("non-ascii", "Füße, Ёлка, 你好世界, 🎉🦀. ")]
    {
        for (name, size) in SIZES {
            let text = filled(text, size);
            assert!(utf8::whole(&text).is_some());
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_with_input(BenchmarkId::new(kind, name), &text, |b, text| {
                b.iter(|| utf8::whole(black_box(text)).is_some());
            });
        }
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (name, size) in SIZES {
        let payload = vec![b'x'; size];
        let mut out = Vec::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                endpoint_wire::encode::frame(&mut out, true, OpCode::Text, black_box(&payload));
                black_box(out.len())
            });
        });
    }
}

/// What one read may have brought: many short messages, or few long ones.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, opcode, count, size) in [
        ("256 texts of 20 B", 0x81, 256, 20),
        ("256 binary messages of 20 B", 0x82, 256, 20),
        ("64 texts of 1 KiB", 0x81, 64, 1 << 10),
        ("4 texts of 16 KiB", 0x81, 4, 16 << 10),
        ("4 binary messages of 16 KiB", 0x82, 4, 16 << 10),
    ] {
        let mut batch = client_frame(opcode, &vec![b'x'; size]).repeat(count);
        let mut decoder = Decoder::default();
        let options = black_box(DecodeOptions { text: WHOLE, binary: WHOLE });
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(bytes(&mut decoder, &options, black_box(&mut batch)), Some(count * size)));
        });
    }
}

/// Decodes a read buffer as the connection does: how many bytes of messages were in it; `None` for a violation.
fn bytes(decoder: &mut Decoder, options: &DecodeOptions, mut input: &mut [u8]) -> Option<usize> {
    let mut bytes = 0;
    while !input.is_empty() {
        let (used, event) = decoder.next(options, input).ok()?;
        bytes += match event {
            Some(Event::Text { text, .. }) => text.as_str().len(),
            Some(Event::Binary { data, .. }) => data.as_slice().len(),
            _ => 0,
        };
        input = &mut input[used..];
    }
    Some(bytes)
}

/// `size` bytes of whole characters, the last ones ASCII.
fn filled(text: &str, size: usize) -> Vec<u8> {
    let mut filled = String::new();
    for char in text.chars().cycle() {
        if filled.len() + char.len_utf8() > size {
            break;
        }
        filled.push(char);
    }
    let mut filled = filled.into_bytes();
    filled.resize(size, b'.');
    filled
}

/// A final frame as a client sends it.
fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        medium @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
