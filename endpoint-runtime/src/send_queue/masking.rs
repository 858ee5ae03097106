//! Masking of a client's frames before they are written (RFC 6455 §5.3): each gets its own key.
//!
//! Frames are queued unmasked, so code that queues them does not depend on the side.

use bytes::Bytes;

use super::write_buffer::{Frames, Large};
use crate::transport::buffers;
use endpoint_wire::{encode, mask};

impl Frames {
    /// Masks the frames appended since the last call, each with a fresh unpredictable key (RFC 6455 §10.3). A client
    /// calls it before any of them is written.
    pub(crate) fn mask(&mut self) {
        let Self { small, large, .. } = self;
        let Large { payloads, len, bare, masked } = &mut **large.get_or_insert_default();
        if *masked == small.len() && *bare == 0 {
            return;
        }
        let begin = *masked;
        let mut plain = buffers::lend_for_writing();
        plain.extend_from_slice(&small[begin..]);
        small.truncate(begin);
        let mut shared = payloads.len() - *bare;
        let mut at = 0;
        loop {
            let position = payloads.get(shared).map(|(position, _)| *position - begin);
            if position == Some(at) {
                // a whole frame that is not copied
                let (position, frame) = &mut payloads[shared];
                (*position, *frame) = (small.len(), whole(frame));
                *len += KEY;
                shared += 1;
                continue;
            }
            let Some(frame) = plain.get(at..).filter(|rest| !rest.is_empty()) else { break };
            let (header, payload) = encode::lengths(frame);
            let (header, rest) = frame.split_at(header.min(frame.len()));
            // the thread's generator is cryptographic, seeded by the operating system
            let key: [u8; KEY] = rand::random();
            encode::masked_header(small, header, key);
            at += header.len();
            if payload > 0 && position == Some(at) {
                let (position, payload) = &mut payloads[shared];
                (*position, *payload) = (small.len(), alone(std::mem::take(payload), key));
                shared += 1;
            } else {
                let payload = &rest[..payload.min(rest.len())];
                encode::masked(small, payload, key);
                at += payload.len();
            }
        }
        (*masked, *bare) = (small.len(), 0);
        buffers::return_from_writing(plain);
    }
}

/// Length of a masking key, in bytes.
const KEY: usize = 4;

/// Masks a whole frame. It may be shared with other sessions, so it is copied.
fn whole(frame: &[u8]) -> Bytes {
    let (header, _) = encode::lengths(frame);
    let (header, payload) = frame.split_at(header.min(frame.len()));
    let key: [u8; KEY] = rand::random();
    let mut out = Vec::with_capacity(frame.len() + KEY);
    encode::masked_header(&mut out, header, key);
    encode::masked(&mut out, payload, key);
    out.into()
}

/// Masks a payload: in place if it is not shared.
fn alone(payload: Bytes, key: [u8; KEY]) -> Bytes {
    match payload.try_into_mut() {
        Ok(mut payload) => {
            mask::apply(&mut payload, key, 0);
            payload.freeze()
        }
        Err(payload) => {
            let mut out = Vec::with_capacity(payload.len());
            encode::masked(&mut out, &payload, key);
            out.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use endpoint_wire::frame::{self, OpCode};
    use endpoint_wire::role::Role;

    /// The bytes that the next write would take.
    fn next(frames: &Frames) -> Vec<u8> {
        if let Some(bytes) = frames.single(usize::MAX) {
            return bytes.to_vec();
        }
        let mut slices = Frames::slices();
        let count = frames.segments(&mut slices, usize::MAX);
        slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn every_frame_is_masked_once_whatever_was_written_before(
            appended in proptest::collection::vec((0u8..3, 0usize..300), 0..80),
            every in 1usize..6,
            writes in proptest::collection::vec(1usize..500, 1..6),
        ) {
            let (mut frames, mut expected, mut written) = (Frames::default(), Vec::new(), Vec::new());
            let mut writes = writes.into_iter().cycle();
            for (index, (kind, size)) in appended.iter().enumerate() {
                // a shared payload is never empty
                let payload = vec![index as u8; if *kind == 0 { *size } else { *size + 1 }];
                match kind {
                    0 => frames.push(true, OpCode::Text, &payload),
                    1 => frames.push_shared(true, OpCode::Text, payload.clone().into()),
                    _ => {
                        let mut frame = Vec::new();
                        encode::frame(&mut frame, true, OpCode::Text, &payload);
                        frames.push_encoded(frame.into());
                    }
                }
                expected.push(payload);
                if index % every == 0 {
                    frames.mask();
                    frames.mask();
                    let mut bytes = next(&frames);
                    bytes.truncate(writes.next().unwrap_or(1));
                    frames.advance(bytes.len());
                    written.extend(bytes);
                }
            }
            frames.mask();
            while !frames.is_empty() {
                let bytes = next(&frames);
                prop_assert!(!bytes.is_empty() && bytes.len() <= frames.len());
                frames.advance(bytes.len());
                written.extend(bytes);
            }
            let (mut rest, mut read, mut keys) = (&mut written[..], Vec::new(), Vec::new());
            while !rest.is_empty() {
                let header = frame::parse(rest, Role::Server, false).unwrap().unwrap();
                let (payload, after) = rest[header.len..].split_at_mut(header.payload as usize);
                mask::apply(payload, header.mask, 0);
                read.push(payload.to_vec());
                keys.push(header.mask);
                rest = after;
            }
            prop_assert_eq!(read, expected);
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            // two of 80 keys are the same once in a million times
            prop_assert!(keys.len() + 1 >= count, "a masking key was reused");
        }
    }
}
