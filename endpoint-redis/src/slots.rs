//! The map of a Redis Cluster: which server has a channel or key.

use redis::Value;

/// Number of hash slots of every Redis Cluster.
const SLOTS: usize = 16384;

/// The slot of a channel or key. Ours have no braces, so all of it counts.
pub(crate) fn slot(name: &str) -> usize {
    usize::from(crc16(name.as_bytes())) % SLOTS
}

/// CRC-16/XMODEM, as the specification of Redis Cluster requires.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

/// Which master has which slots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotMap {
    /// Host and port of each master.
    pub(crate) masters: Vec<(String, u16)>,
    /// The index of the master for each slot.
    owners: Vec<u16>,
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS`. A server that does not know its own host is at `asked`.
    pub(crate) fn read(answer: &Value, asked: &str) -> Result<Self, String> {
        const UNKNOWN: u16 = u16::MAX;
        let mut map = Self { masters: Vec::new(), owners: vec![UNKNOWN; SLOTS] };
        let Value::Array(ranges) = answer else {
            return Err("the answer to CLUSTER SLOTS is not a list".to_owned());
        };
        for range in ranges {
            let Some((first, last, master)) = range_of(range, asked) else {
                return Err("the answer to CLUSTER SLOTS has a range that cannot be read".to_owned());
            };
            let known = map.masters.iter().position(|other| *other == master);
            let index = known.unwrap_or(map.masters.len());
            if known.is_none() {
                map.masters.push(master);
            }
            let Some(owners) = map.owners.get_mut(first..=last) else {
                return Err(format!("the answer to CLUSTER SLOTS has the range {first} to {last}"));
            };
            owners.fill(u16::try_from(index).unwrap_or(UNKNOWN));
        }
        match map.owners.iter().position(|owner| *owner == UNKNOWN) {
            Some(slot) => Err(format!("no server of the Redis Cluster has slot {slot}; see CLUSTER INFO")),
            None => Ok(map),
        }
    }

    /// The index of the master that has a channel or key; 0 for a single server.
    pub(crate) fn owner(&self, name: &str) -> usize {
        self.owners.get(slot(name)).map_or(0, |owner| usize::from(*owner))
    }
}

/// The bounds of a range, and its master. Replicas follow, and are of no use here.
fn range_of(range: &Value, asked: &str) -> Option<(usize, usize, (String, u16))> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::Nil => asked,
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => return None,
    };
    let host = if host.is_empty() { asked } else { host };
    let bounds = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
    (bounds.0 <= bounds.1).then_some((bounds.0, bounds.1, (host.to_owned(), u16::try_from(*port).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        let replica = node(Value::BulkString(b"replica".to_vec()), 1);
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host, port), replica])
    }

    fn host(name: &str) -> Value {
        Value::BulkString(name.as_bytes().to_vec())
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot("foo"), 12182);
    }

    #[test]
    fn every_slot_has_its_master() {
        let answer = Value::Array(vec![
            range(0, 99, host("a"), 1),
            range(100, 16382, Value::Nil, 2),
            range(16383, 16383, host("a"), 1),
        ]);
        let map = SlotMap::read(&answer, "asked").unwrap();
        assert_eq!(map.masters, [("a".to_owned(), 1), ("asked".to_owned(), 2)]);
        assert_eq!([0, 99, 100, 16382, 16383].map(|slot: usize| map.owners[slot]), [0, 0, 1, 1, 0]);
        assert_eq!(map.owner("foo"), 1);
    }

    #[test]
    fn single_server_has_every_name() {
        assert_eq!(SlotMap::default().owner("foo"), 0);
    }

    #[test]
    fn incomplete_or_strange_maps_are_refused() {
        let read = |ranges| SlotMap::read(&Value::Array(ranges), "asked").unwrap_err();
        assert!(read(vec![]).contains("slot 0"));
        assert!(read(vec![range(0, 16382, host("a"), 1)]).contains("slot 16383"));
        assert!(read(vec![range(0, 16384, host("a"), 1)]).contains("0 to 16384"));
        assert!(read(vec![range(9, 3, host("a"), 1)]).contains("cannot be read"));
        assert!(read(vec![range(0, 16383, host("a"), 70000)]).contains("cannot be read"));
        assert!(SlotMap::read(&Value::Okay, "asked").is_err());
    }
}
