//! The one echo of a connection with permessage-deflate (RFC 7692): sent compressed, and compressed or not when it comes
//! back. Its bytes are the server's choice, so it is not compared before it is inflated.

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::frame::{self, Control};

/// "This message is compressed" (RFC 7692 §6).
const RSV1: u8 = 0x40;
/// The end of what a flush writes; it stays away from the wire (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the other end must return, and what of it came.
pub(super) struct DeflatedEcho {
    payload: Vec<u8>,
    received: Vec<u8>,
}

impl DeflatedEcho {
    pub(super) fn new(payload: Vec<u8>) -> Self {
        Self { payload, received: Vec::new() }
    }

    /// The message as a frame with its first bytes compressed, as the first of a connection.
    pub(super) fn frame(&self) -> Result<Vec<u8>> {
        let mut deflated = Vec::with_capacity(self.payload.len() + 64);
        Compress::new(Compression::default(), false).compress_vec(&self.payload, &mut deflated, FlushCompress::Sync)?;
        ensure!(deflated.ends_with(&TAIL), "a flush without its trailing bytes");
        deflated.truncate(deflated.len() - TAIL.len());
        let mut frame = Vec::new();
        frame::put_client_frame(&mut frame, frame::TEXT, &deflated, MASK);
        frame[0] |= RSV1;
        Ok(frame)
    }

    /// Takes what was received, as [`crate::script::Checker::take`] does.
    pub(super) fn take(&mut self, bytes: &[u8], controls: &mut Vec<Control>) -> Result<usize> {
        self.received.extend_from_slice(bytes);
        let mut messages = 0;
        while let [first, ..] = self.received[..] {
            if first & 0x0f >= frame::CLOSE {
                let Some((length, control)) = frame::read_control(&self.received).map_err(anyhow::Error::msg)? else {
                    break;
                };
                controls.push(control);
                self.received.drain(..length);
                continue;
            }
            let Some((start, end)) = payload_of(&self.received) else { break };
            self.check(first, &self.received[start..end])?;
            self.received.drain(..end);
            messages += 1;
        }
        Ok(messages)
    }

    fn check(&self, first: u8, payload: &[u8]) -> Result<()> {
        let same = match first & !RSV1 {
            0x81 if first & RSV1 == 0 => payload == self.payload,
            0x81 => inflated(payload, self.payload.len())? == self.payload,
            _ => bail!("the server sent a frame that starts {first:#04x}"),
        };
        ensure!(same, "a wrong echo of a compressed message");
        Ok(())
    }
}

/// Where the payload of the first frame lies, once it is complete.
fn payload_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes {
        [_, short @ ..126, ..] => (2, usize::from(short)),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        // no echo is as long as that
        _ => return None,
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}

fn inflated(payload: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(expected + 1);
    let input = [payload, &TAIL].concat();
    let mut inflater = Decompress::new(false);
    let status = inflater.decompress_vec(&input, &mut out, FlushDecompress::Sync).context("cannot inflate an echo")?;
    ensure!(matches!(status, Status::Ok | Status::StreamEnd), "an echo that cannot be inflated");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> DeflatedEcho {
        DeflatedEcho::new(b"an echo, an echo, an echo, an echo".repeat(8))
    }

    /// The client's frame as a server returns it.
    fn returned(echo: &DeflatedEcho) -> Vec<u8> {
        let client = echo.frame().unwrap();
        let masked = &client[6..];
        let mut server = vec![client[0], client[1] & 0x7f];
        server.extend(masked.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
        server
    }

    #[test]
    fn an_echo_counts_whether_it_is_compressed_or_not_and_however_it_is_cut() {
        let mut plain = Vec::new();
        frame::put_server_frame(&mut plain, frame::TEXT, &echo().payload);
        let deflated = returned(&echo());
        assert!(deflated.len() < 100 && plain.len() > 256);
        for bytes in [plain, deflated] {
            let (mut echo, mut controls) = (echo(), Vec::new());
            let (last, before) = bytes.split_last().unwrap();
            for byte in before {
                assert_eq!(echo.take(&[*byte], &mut controls).unwrap(), 0);
            }
            assert_eq!(echo.take(&[*last], &mut controls).unwrap(), 1);
            assert_eq!(controls, []);
        }
    }

    #[test]
    fn ping_before_the_echo_is_returned() {
        let (mut echo, mut controls) = (echo(), Vec::new());
        let bytes = [b"\x89\x00".to_vec(), returned(&echo)].concat();
        assert_eq!(echo.take(&bytes, &mut controls).unwrap(), 1);
        assert_eq!(controls, [Control::Ping(Vec::new())]);
    }

    #[test]
    fn a_wrong_echo_is_an_error() {
        let mut bytes = returned(&echo());
        bytes[0] &= !RSV1;
        assert!(echo().take(&bytes, &mut Vec::new()).is_err());
        let mut other = Vec::new();
        frame::put_server_frame(&mut other, frame::TEXT, b"another");
        assert!(echo().take(&other, &mut Vec::new()).is_err());
    }
}
