//! A frame built by a test: valid, or invalid in a specified way.

use std::fmt;

use bytes::Bytes;

use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::Binary;

/// A constant masking key, so that the same test sends the same bytes. It is the key of the example in RFC 6455 §5.7.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame (RFC 6455 §5.2), which may be invalid: see [`TestClient::send`](super::client::TestClient::send).
///
/// ```
/// use endpoint_runtime::test::TestFrame;
///
/// let text = TestFrame::new(true, 1, "hi");
/// assert_eq!(&text.bytes()[..2], [0x81, 0x82]);
/// let bad = TestFrame::new(true, 1, "hi").rsv(0b010).unmasked();
/// assert_eq!(bad.bytes()[..], [0xa1, 2, b'h', b'i']);
/// assert_eq!(TestFrame::new(true, 2, [1, 2, 3]).half(4).bytes().len(), 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFrame {
    is_final: bool,
    opcode: u8,
    rsv: u8,
    is_masked: bool,
    payload: Binary,
    /// Length to cut the frame to.
    bytes: usize,
}

impl TestFrame {
    /// A masked frame. `fin` marks the last frame of its message. Opcodes are 0 for a continuation, 1 for text, 2 for
    /// binary data, 8 for close, 9 for a ping, 10 for a pong; the others are reserved. Nothing is checked.
    ///
    /// # Panics
    /// `opcode` is above 15.
    #[track_caller]
    pub fn new(fin: bool, opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        assert!(opcode < 16, "the opcode {opcode} does not fit into four bits");
        let payload = payload.as_ref().into();
        Self { is_final: fin, opcode, rsv: 0, is_masked: true, payload, bytes: usize::MAX }
    }

    /// Sets the reserved bits: `0b100` is RSV1, which marks a compressed message.
    ///
    /// # Panics
    /// `bits` is above 7.
    #[must_use]
    #[track_caller]
    pub fn rsv(mut self, bits: u8) -> Self {
        assert!(bits < 8, "{bits} does not fit into three reserved bits");
        self.rsv = bits;
        self
    }

    /// Omits the mask, which RFC 6455 §5.1 forbids for a client.
    #[must_use]
    pub fn unmasked(mut self) -> Self {
        self.is_masked = false;
        self
    }

    /// Cuts the frame off after this many bytes, including the header.
    #[must_use]
    pub fn half(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// The bytes sent over the wire.
    pub fn bytes(&self) -> Bytes {
        let mut plain = Vec::new();
        encode::frame(&mut plain, self.is_final, OpCode::Continuation, &self.payload);
        // sets bits that the encoder never sets
        plain[0] |= self.rsv << 4 | self.opcode;
        let mut bytes = plain;
        if self.is_masked {
            let (header, payload) = bytes.split_at(encode::lengths(&bytes).0);
            let mut masked = Vec::with_capacity(bytes.len() + KEY.len());
            encode::masked_header(&mut masked, header, KEY);
            encode::masked(&mut masked, payload, KEY);
            bytes = masked;
        }
        bytes.truncate(self.bytes);
        bytes.into()
    }

    /// Whether a reader takes it for a close frame.
    pub(super) fn is_close(&self) -> bool {
        self.opcode == OpCode::Close as u8
    }
}

impl fmt::Display for TestFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame with opcode {} and {} bytes", self.opcode, self.payload.len())?;
        if !self.is_final {
            f.write_str(", not final")?;
        }
        if self.rsv != 0 {
            write!(f, ", reserved bits {:03b}", self.rsv)?;
        }
        if !self.is_masked {
            f.write_str(", without a mask")?;
        }
        if self.bytes != usize::MAX {
            write!(f, ", only its first {} bytes", self.bytes)?;
        }
        Ok(())
    }
}
