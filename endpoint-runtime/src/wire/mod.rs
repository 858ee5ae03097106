//! Bytes on the wire and back: pure, no I/O, no clock (RFC 6455 §5).
