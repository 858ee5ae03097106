//! Several containers, on one machine or many, that act as one: rooms, users and presence across nodes.

mod backplane;

pub use self::backplane::{
    Backplane, BackplaneFuture, BackplaneLink, HistoryEntry, Inbound, InvalidSubject, Keep, NodeId, Packet, Subject,
};
