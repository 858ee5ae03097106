//! DEFLATE for messages (RFC 7692 §7.2): each message ends with a sync flush whose trailing `00 00 FF FF` is not sent.
//!
//! Compressors and decompressors are large, so each thread keeps some and lends one for one message. With context
//! takeover a connection owns its own, from the first message that needs it. No socket, no clock; the bytes of a
//! message are never kept.

mod deflater;
mod deflation;
mod format;
mod history;
mod inbound;
mod inflater;
mod pool;

pub use self::deflation::{Deflation, PartDeflater};
pub(crate) use self::inbound::INPUT_AT_ONCE;
pub use self::inbound::Inbound;
pub(crate) use self::pool::with_scratch;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flate2::{Compress, FlushCompress, Status};
    use proptest::prelude::*;

    use super::deflater::{DEFLATER_BYTES, Deflater};
    use super::format::MAX_WINDOW;
    use super::inflater::{INFLATER_BYTES, Inflater};
    use super::*;
    use crate::budget::Budget;
    use crate::compression::Compression;
    use crate::extension::{Extension, Parameter};
    use crate::frame::OpCode;
    use crate::role::Role;
    use crate::violation::Violation;

    fn compressed(messages: &[&[u8]], level: u32, window_bits: u8, no_context_takeover: bool) -> Vec<Vec<u8>> {
        let mut deflater = Deflater::new(level, window_bits);
        let compressed = |message: &&[u8]| {
            let mut out = Vec::new();
            assert!(deflater.message(message, &mut out));
            if no_context_takeover {
                deflater.reset();
            }
            out
        };
        messages.iter().map(compressed).collect()
    }

    /// The output of one inflater for messages that are fed in pieces of `size` bytes.
    fn inflated(messages: &[Vec<u8>], size: usize, no_context_takeover: bool) -> Result<Vec<Vec<u8>>, Violation> {
        let mut inbound = Inbound::new(no_context_takeover);
        let inflate = |message: &Vec<u8>| {
            let mut out = Vec::new();
            for piece in message.chunks(size) {
                inbound.inflate(piece, &mut out, usize::MAX)?;
            }
            inbound.finish().map(|()| out)
        };
        messages.iter().map(inflate).collect()
    }

    #[test]
    fn examples_of_the_rfc_are_read() {
        // RFC 7692 §7.2.3.1, .3, .4, .5, and .6
        for (message, text) in [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            (&[0x00], ""),
            // without the byte that §7.2.3.4 adds after a final block, two final blocks, a final block of a flush
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "HelloHello"),
            (&[0x01], ""),
            (&[], ""),
        ] {
            let messages = [message.to_vec(), message.to_vec()];
            for (size, no_context_takeover) in [(1, true), (1, false), (usize::MAX, true), (usize::MAX, false)] {
                let expected = Ok(vec![text.as_bytes().to_vec(); 2]);
                assert_eq!(
                    inflated(&messages, size, no_context_takeover),
                    expected,
                    "{message:02x?} by {size}, {no_context_takeover}"
                );
            }
        }
        // §7.2.3.2: the second message refers to the first
        let messages = [vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], vec![0xf2, 0x00, 0x11, 0x00, 0x00]];
        assert_eq!(inflated(&messages, 1, false), Ok(vec![b"Hello".to_vec(); 2]));
        assert_eq!(inflated(&messages, 1, true), Err(Violation::NotDeflate));
    }

    #[test]
    fn what_is_not_deflate_is_refused() {
        for message in [
            // a block of the reserved type, a wrong length of a stored block, a distance before the beginning
            &[0x07][..],
            &[0x00, 0x05, 0x00, 0x00, 0x00],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            // cut off in a block with codes, in a stored one, in the header of one with codes of its own
            &[0xf2, 0x48, 0xcd],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48],
            &[0x04, 0xc0],
            b"not deflate at all",
        ] {
            assert_eq!(inflated(&[message.to_vec()], usize::MAX, true), Err(Violation::NotDeflate), "{message:02x?}");
            assert_eq!(inflated(&[message.to_vec()], 1, true), Err(Violation::NotDeflate), "{message:02x?}");
        }
    }

    #[test]
    fn what_comes_behind_a_last_block_refers_to_what_came_before_it() {
        /// Compresses like a peer that ends a stream with each message, and continues with its window.
        fn ended(message: &[u8], before: &[u8]) -> Vec<u8> {
            let mut stream = Compress::new(flate2::Compression::new(6), false);
            if !before.is_empty() {
                stream.set_dictionary(&before[before.len().saturating_sub(MAX_WINDOW)..]).unwrap();
            }
            let mut out = Vec::with_capacity(2 * message.len() + 100);
            assert_eq!(stream.compress_vec(message, &mut out, FlushCompress::Finish).unwrap(), Status::StreamEnd);
            out
        }
        let mut state = 1u64;
        let mut noise = |len: usize| -> Vec<u8> {
            let next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            std::iter::repeat_with(next).take(len).collect()
        };
        let (long, short) = (noise(100_000), noise(300));
        let again = [&long[70_000..], &short[..]].concat();
        let messages = [&long[..], &short, b"", &again, &short, &again, &long[99_000..]];
        let (mut before, mut wire) = (Vec::new(), Vec::new());
        for message in messages {
            wire.push(ended(message, &before));
            before.extend_from_slice(message);
        }
        assert!(wire[3].len() < 1000, "it refers back");
        let expected: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
        for size in [1, 1000, usize::MAX] {
            let padded: Vec<_> = wire.iter().map(|message| [message, &[0][..]].concat()).collect();
            assert_eq!(inflated(&wire, size, false).as_ref(), Ok(&expected), "by {size}");
            assert_eq!(inflated(&padded, size, false).as_ref(), Ok(&expected), "by {size}");
            // all of it as one message, which a peer without context takeover may send as well
            assert_eq!(inflated(&[wire.concat()], size, true).unwrap(), [expected.concat()], "by {size}");
        }
        assert_eq!(inflated(&wire, usize::MAX, true), Err(Violation::NotDeflate));
        // a final block without output, and one that the end of the message completes
        let hello = vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for last in [&[0x03, 0x00][..], &[0x01, 0x00, 0x00, 0xff, 0xff], &[0x01]] {
            let messages = [hello.clone(), last.to_vec(), vec![0xf2, 0x00, 0x11, 0x00, 0x00]];
            let expected = [&b"Hello"[..], b"", b"Hello"].map(<[u8]>::to_vec).to_vec();
            assert_eq!(inflated(&messages, 1, false), Ok(expected), "{last:02x?}");
        }
    }

    #[test]
    fn no_more_is_made_than_there_is_room_for() {
        let zeros = vec![0; 10 << 20];
        let bomb = &compressed(&[&zeros], 9, 15, true)[0];
        let (mut inflater, mut out, mut used, mut total) = (Inflater::new(MAX_WINDOW), Vec::new(), 0, 0);
        loop {
            let (count, drained) = inflater.inflate(&bomb[used..], &mut out, 1000).unwrap();
            (used, total) = (used + count, total + out.len());
            assert!(out.len() <= 1000 && out.capacity() <= 1000);
            out.clear();
            if drained {
                break;
            }
        }
        assert_eq!((used, total), (bomb.len(), zeros.len()));
    }

    #[test]
    fn a_budget_is_kept_and_given_back() {
        let budget = Arc::new(Budget::new(DEFLATER_BYTES + INFLATER_BYTES + MAX_WINDOW));
        let open = |keep: bool| {
            let compression = Compression::ON.context_takeover(keep);
            let no_context_takeover = [Parameter::ServerNoContextTakeover, Parameter::ClientNoContextTakeover];
            let extension = Extension::permessage_deflate(no_context_takeover.into_iter().filter(|_| !keep));
            Deflation::new(extension, Role::Server, &compression, &budget)
        };
        let (first, forgetting) = (open(false).unwrap(), open(false).unwrap());
        let mut inbound = forgetting.inbound();
        inbound.inflate(&[0xf2], &mut Vec::new(), 1).unwrap();
        inbound.wait().unwrap();
        inbound.wait().unwrap();
        assert_eq!(budget.used(), INFLATER_BYTES + MAX_WINDOW);
        assert!(open(true).is_none());
        drop(inbound);
        let keeping = open(true).unwrap();
        assert!(open(true).is_none());
        let mut another = forgetting.inbound();
        another.inflate(&[0xf2], &mut Vec::new(), 1).unwrap();
        assert_eq!(another.wait(), Err(Violation::NoRoom));
        // the history of a session is counted as it fills
        let used = || budget.used() - DEFLATER_BYTES - INFLATER_BYTES;
        let mut inbound = keeping.inbound();
        inbound.inflate(&compressed(&[&[7; 1000]], 1, 15, false)[0], &mut Vec::new(), 1000).unwrap();
        inbound.finish().unwrap();
        assert!((1000..2000).contains(&used()), "{}", used());
        inbound.inflate(&compressed(&[&[7; 100_000]], 1, 15, false)[0], &mut Vec::new(), 100_000).unwrap();
        assert_eq!(used(), MAX_WINDOW);
        drop(inbound);
        keeping.end();
        assert_eq!(budget.used(), 0);
        drop((first, keeping));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_message_that_would_not_become_smaller_is_left() {
        let budget = Arc::new(Budget::new(1));
        let no_context_takeover =
            Extension::permessage_deflate([Parameter::ServerNoContextTakeover, Parameter::ClientNoContextTakeover]);
        let deflation = Deflation::new(no_context_takeover, Role::Server, &Compression::ON, &budget).unwrap();
        let mut out = Vec::new();
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(600)
        .collect();
        assert!(!deflation.frame_afresh(OpCode::Binary, &noise, &mut out));
        assert!(!deflation.frame_afresh(OpCode::Binary, b"", &mut out));
        assert_eq!(out, [0; 0]);
        assert!(deflation.frame_afresh(OpCode::Binary, &[7; 600], &mut out));
        assert_eq!((out[0], usize::from(out[1])), (0xc2, out.len() - 2));
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_read_again(
            messages in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..3000), 1..5),
            size in 1usize..2000,
            level in 0u32..=9,
            window_bits in 9u8..=15,
            no_context_takeover: bool,
        ) {
            let slices: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
            let wire = compressed(&slices, level, window_bits, no_context_takeover);
            for (message, bytes) in messages.iter().zip(&wire) {
                prop_assert!(!message.is_empty() || bytes == &[0]);
            }
            prop_assert_eq!(inflated(&wire, size, no_context_takeover), Ok(messages));
        }

        #[test]
        fn arbitrary_bytes_never_panic(messages: Vec<Vec<u8>>, size in 1usize..40, no_context_takeover: bool) {
            let whole = inflated(&messages, usize::MAX, no_context_takeover);
            prop_assert_eq!(inflated(&messages, size, no_context_takeover), whole);
        }
    }
}
