//! The send queue of a session: bounded, filled by any task, emptied by the connection.
//!
//! Frames keep the order in which they were accepted; control frames have their own lane and overtake. A lock guards
//! the queue and is never held across an await. One wake of the connection covers everything queued since.

mod backlog;
mod batch;
mod broadcast_time;
mod burst;
mod conversion;
mod convert;
mod counted;
mod current_handler;
mod direct_write;
mod drain;
mod enqueue;
mod fragments;
mod item;
mod lifecycle;
mod masking;
mod open_message;
mod overflow;
mod pending;
mod queue;
mod refused;
mod state;
pub(crate) mod sync;
mod wait;
mod waiters;
pub(crate) mod write_buffer;

pub(crate) use self::broadcast_time::BroadcastTime;
pub(crate) use self::burst::Burst;
pub(crate) use self::conversion::{HookVerdict, SendHook};
pub(crate) use self::drain::Collected;
pub(crate) use self::enqueue::Admission;
pub(crate) use self::fragments::{FragmentTicket, PartOwner};
pub(crate) use self::item::{QueueItem, SHARE_FROM, Ticket, frame_of, shown};
pub(crate) use self::queue::{Bounds, SendQueue};
pub(crate) use self::refused::Refused;
pub(crate) use self::wait::WaitGuard;
pub(crate) use self::waiters::{FAR, Waiting};
