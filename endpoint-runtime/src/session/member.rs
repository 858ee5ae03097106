//! The interface through which the sets of sessions see a session.

use std::sync::atomic::{AtomicU32, Ordering};

use super::id::SessionId;
use crate::observe::tally::Traffic;
use crate::send_queue::SendQueue;

/// A session in a set. The sets are generic over it, because a session holds its sets.
pub(crate) trait Member: Clone {
    /// The memory address, unique among all members that exist at the same time.
    fn address(&self) -> usize;

    fn id(&self) -> SessionId;

    /// Index in the open set, which maintains it.
    fn place(&self) -> &AtomicU32;

    fn send_queue(&self) -> &SendQueue;

    /// What the member has exchanged so far; the counts never decrease.
    fn traffic(&self) -> Traffic;

    /// Whether the member is in the open set.
    fn is_placed(&self) -> bool {
        self.place().load(Ordering::Relaxed) != NOWHERE
    }
}

/// The member is not in the open set.
pub(crate) const NOWHERE: u32 = u32::MAX;
