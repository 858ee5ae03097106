//! Changes of presence as bytes, as nodes tell each other. A node tells of its own devices alone, so their node is not
//! written: it is the sender.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::backplane::NodeId;
use super::fields::{Reader, put_block};
use super::presence::{Device, DeviceEntry, LocalChange};

/// Bytes from which changes are divided.
const PART: usize = 32 << 10;

const PUT: u8 = 0;
const REMOVED: u8 = 1;

/// The changes as bytes, in parts that fit into packets.
pub(crate) fn encode<'a>(changes: impl IntoIterator<Item = &'a LocalChange>) -> Vec<Bytes> {
    let (mut parts, mut out) = (Vec::new(), Vec::new());
    for change in changes {
        put(&mut out, change);
        if out.len() >= PART {
            parts.push(std::mem::take(&mut out).into());
        }
    }
    if !out.is_empty() {
        parts.push(out.into());
    }
    parts
}

/// The devices of a node as bytes, in one piece.
pub(crate) fn encode_entries(entries: Vec<DeviceEntry>) -> Bytes {
    let mut out = Vec::new();
    entries.into_iter().for_each(|entry| put(&mut out, &LocalChange::Put { entry, replaces: None }));
    out.into()
}

fn put(out: &mut Vec<u8>, change: &LocalChange) {
    match change {
        LocalChange::Put { entry: DeviceEntry { room, user, device, meta, lingers }, replaces } => {
            out.put_u8(PUT);
            out.put_u128(device.session);
            put_block(out, room.as_bytes());
            put_block(out, user.as_bytes());
            out.put_u8(u8::from(*lingers));
            out.put_u8(u8::from(meta.is_some()));
            if let Some(meta) = meta {
                put_block(out, meta);
            }
            out.put_u8(u8::from(replaces.is_some()));
            if let Some(Device { node, session }) = replaces {
                out.put_u64(node.to_bits());
                out.put_u128(*session);
            }
        }
        LocalChange::Removed { room, device } => {
            out.put_u8(REMOVED);
            out.put_u128(device.session);
            put_block(out, room.as_bytes());
        }
    }
}

/// The changes that a node tells; those before the first that is malformed.
pub(crate) fn decode(sender: NodeId, changes: Bytes) -> Vec<LocalChange> {
    let mut reader = Reader(changes);
    std::iter::from_fn(|| take(sender, &mut reader)).collect()
}

fn take(node: NodeId, reader: &mut Reader) -> Option<LocalChange> {
    let kind = reader.u8()?;
    let device = Device { node, session: reader.u128()? };
    let room: Arc<str> = reader.text()?.into();
    if kind == REMOVED {
        return Some(LocalChange::Removed { room, device });
    }
    if kind != PUT {
        return None;
    }
    let (user, lingers) = (reader.text()?.into(), reader.bool()?);
    let meta = if reader.bool()? { Some(reader.block()?) } else { None };
    // a slice of the packet would keep all of it
    let meta = meta.map(|meta| Bytes::copy_from_slice(&meta));
    let replaces = match reader.bool()? {
        true => Some(Device { node: NodeId::from_bits(reader.u64()?), session: reader.u128()? }),
        false => None,
    };
    Some(LocalChange::Put { entry: DeviceEntry { room, user, device, meta, lingers }, replaces })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: NodeId = NodeId::from_bits(7);

    fn changes() -> impl Strategy<Value = LocalChange> {
        let device = any::<u128>().prop_map(|session| Device { node: NODE, session });
        let other =
            (any::<u64>(), any::<u128>()).prop_map(|(node, session)| Device { node: NodeId::from_bits(node), session });
        let meta = prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from));
        let put = (".{0,9}", ".{0,9}", device.clone(), meta, any::<bool>(), prop::option::of(other));
        prop_oneof![
            put.prop_map(|(room, user, device, meta, lingers, replaces)| {
                let (room, user) = (room.into(), user.into());
                LocalChange::Put { entry: DeviceEntry { room, user, device, meta, lingers }, replaces }
            }),
            (".{0,9}", device).prop_map(|(room, device)| LocalChange::Removed { room: room.into(), device }),
        ]
    }

    proptest! {
        #[test]
        fn changes_are_read_back(changes in prop::collection::vec(changes(), 0..20)) {
            let parts = encode(&changes);
            let read: Vec<_> = parts.into_iter().flat_map(|part| decode(NODE, part)).collect();
            prop_assert_eq!(read, changes);
        }

        #[test]
        fn any_bytes_are_read_as_far_as_they_are_changes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode(NODE, bytes.into());
        }
    }

    #[test]
    fn many_changes_are_divided() {
        let change = LocalChange::Removed { room: "r".repeat(1000).into(), device: Device { node: NODE, session: 1 } };
        let parts = encode(&vec![change; 100]);
        assert!(parts.len() == 4 && parts.iter().all(|part| part.len() < PART + 2000), "{}", parts.len());
    }
}
