//! Which sessions of other nodes a message, an operation or a question is for.

use bytes::{BufMut, Bytes};

use super::backplane::Subject;
use super::fields::{Reader, put_block};
use super::interest::{room_bucket, user_bucket};

/// Sessions of all nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) scope: Scope,
    /// Only those with this shared property: its name and its bytes.
    pub(crate) shared: Option<(String, Bytes)>,
}

/// Where the sessions of a target are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scope {
    /// All sessions of the container.
    Everyone,
    /// The sessions in at least one of these rooms. Not empty.
    Rooms(Vec<String>),
    /// The sessions of a user.
    User(String),
    /// The session with this ID.
    Session(u128),
}

impl From<Scope> for Target {
    fn from(scope: Scope) -> Self {
        Self { scope, shared: None }
    }
}

impl Target {
    /// Only the sessions with this shared property.
    #[cfg(test)]
    pub(crate) fn with_shared(self, name: &str, value: &'static [u8]) -> Self {
        Self { shared: Some((name.to_owned(), Bytes::from_static(value))), ..self }
    }

    /// The subjects to publish to, so that every node with such sessions gets it.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        match &self.scope {
            Scope::Everyone | Scope::Session(_) => vec![Subject::Nodes],
            Scope::User(name) => vec![Subject::Bucket(user_bucket(name))],
            Scope::Rooms(names) => {
                let mut buckets: Vec<_> = names.iter().map(|name| room_bucket(name)).collect();
                buckets.sort_unstable();
                buckets.dedup();
                buckets.into_iter().map(Subject::Bucket).collect()
            }
        }
    }

    /// Bytes of memory behind it.
    pub(super) fn memory(&self) -> usize {
        let scope = match &self.scope {
            Scope::Rooms(names) => names.iter().map(|name| size_of_val(name) + name.len()).sum(),
            Scope::User(name) => name.len(),
            Scope::Everyone | Scope::Session(_) => 0,
        };
        scope + self.shared.as_ref().map_or(0, |(name, value)| name.len() + value.len())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match &self.scope {
            Scope::Everyone => out.put_u8(0),
            Scope::Rooms(names) => {
                out.put_u8(1);
                // no packet has space for more
                out.put_u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
                names.iter().for_each(|name| put_block(out, name.as_bytes()));
            }
            Scope::User(name) => {
                out.put_u8(2);
                put_block(out, name.as_bytes());
            }
            Scope::Session(id) => {
                out.put_u8(3);
                out.put_u128(*id);
            }
        }
        out.put_u8(u8::from(self.shared.is_some()));
        if let Some((name, value)) = &self.shared {
            put_block(out, name.as_bytes());
            put_block(out, value);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Option<Self> {
        let scope = match reader.u8()? {
            0 => Scope::Everyone,
            1 => Scope::Rooms(reader.list(4, Reader::text).filter(|names| !names.is_empty())?),
            2 => Scope::User(reader.text()?),
            3 => Scope::Session(reader.u128()?),
            _ => return None,
        };
        let shared = if reader.bool()? { Some((reader.text()?, reader.block()?)) } else { None };
        Some(Self { scope, shared })
    }
}

/// An operation on each session of a target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Close { code: u16, reason: String },
    Join(String),
    Leave(String),
}

impl Operation {
    /// Bytes of memory behind it.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Close { reason: text, .. } | Self::Join(text) | Self::Leave(text) => text.len(),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            Self::Close { code, reason } => {
                out.put_u8(0);
                out.put_u16(*code);
                return put_block(out, reason.as_bytes());
            }
            Self::Join(room) => (1, room),
            Self::Leave(room) => (2, room),
        };
        out.put_u8(kind);
        put_block(out, text.as_bytes());
    }

    pub(super) fn decode(reader: &mut Reader) -> Option<Self> {
        Some(match reader.u8()? {
            0 => Self::Close { code: reader.u16()?, reason: reader.text()? },
            1 => Self::Join(reader.text()?),
            2 => Self::Leave(reader.text()?),
            _ => return None,
        })
    }
}

/// A question about the sessions of a target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Question {
    /// Who they are.
    Members,
    /// How many they are.
    Count,
    /// Do this to each of them; how many were there?
    Operate(Operation),
    /// The shared property of this name.
    Shared(String),
    /// The presence in the rooms of the target.
    Present,
    /// The presence of the asked node in all rooms of a bucket.
    PresenceOf(u16),
}

impl Question {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Members => out.put_u8(0),
            Self::Count => out.put_u8(1),
            Self::Operate(operation) => {
                out.put_u8(2);
                operation.encode(out);
            }
            Self::Shared(name) => {
                out.put_u8(3);
                put_block(out, name.as_bytes());
            }
            Self::Present => out.put_u8(4),
            Self::PresenceOf(bucket) => {
                out.put_u8(5);
                out.put_u16(*bucket);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Option<Self> {
        Some(match reader.u8()? {
            0 => Self::Members,
            1 => Self::Count,
            2 => Self::Operate(Operation::decode(reader)?),
            3 => Self::Shared(reader.text()?),
            4 => Self::Present,
            5 => Self::PresenceOf(reader.u16()?),
            _ => return None,
        })
    }
}
