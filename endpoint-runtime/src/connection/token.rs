//! What a connection holds until its socket is gone and `on_close` has returned.

use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::limits::connections::ConnectionGuard;

/// Dropped last: a shutdown waits for it, and a server's limits count the connection until then.
pub(crate) enum ConnectionToken {
    Tracked {
        _token: TaskTrackerToken,
    },
    /// The count is boxed: most servers count no connections, and then it takes a pointer's space.
    Counted {
        _both: Box<(TaskTrackerToken, ConnectionGuard)>,
    },
}

impl ConnectionToken {
    pub(crate) fn new(token: TaskTrackerToken, guard: Option<ConnectionGuard>) -> Self {
        match guard {
            None => Self::Tracked { _token: token },
            Some(guard) => Self::Counted { _both: Box::new((token, guard)) },
        }
    }
}
