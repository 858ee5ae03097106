//! TCP keepalive: how the kernel detects that a peer's machine is gone, on an idle connection and on unacknowledged
//! data.
//!
//! It never disconnects a peer that reads slowly before the send timeout could.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::config::{TCP_KEEPALIVE, TCP_SEND_TIMEOUTS, TCP_USER_TIMEOUT_LEAST, TCP_USER_TIMEOUT_MOST};

/// How long a peer may show no sign of life to the kernel; `None` keeps the system's defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive(Option<Duration>);

impl Default for Keepalive {
    fn default() -> Self {
        Self(Some(TCP_KEEPALIVE))
    }
}

impl Keepalive {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self(limit)
    }

    /// Sets the options of a connected socket, or of a listener: accepted connections inherit them at no cost (tcp(7)).
    /// `send_timeout` is the longest of its sessions.
    pub(crate) fn apply<'s, S>(self, socket: &'s S, send_timeout: Duration)
    where
        SockRef<'s>: From<&'s S>,
    {
        let Some(limit) = self.0 else { return };
        let socket = SockRef::from(socket);
        let (first, interval) = probes(limit);
        let probes = TcpKeepalive::new().with_time(first).with_interval(interval);
        if let Err(error) = socket.set_tcp_keepalive(&probes) {
            tracing::debug!(%error, "cannot set TCP keepalive");
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Some(limit) = user_timeout(limit, send_timeout) {
            if let Err(error) = socket.set_tcp_user_timeout(Some(limit)) {
                tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
            }
        }
        #[cfg(not(any(target_os = "android", target_os = "linux")))]
        let _ = send_timeout;
    }
}

/// Time until the first probe of a silent peer, and the interval between probes: four probes are lost before the limit.
fn probes(limit: Duration) -> (Duration, Duration) {
    // in whole seconds, and at most the maximum of Linux
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(32_767));
    ((limit / 2).clamp(least, most), (limit / 8).clamp(least, most))
}

/// How long data may stay unacknowledged. While a peer does not read, Linux counts the same time although the peer
/// answers each probe, so this must be far beyond what the send timeout allows. `None` where the system is as quick.
#[cfg_attr(not(any(target_os = "android", target_os = "linux")), allow(dead_code))]
fn user_timeout(limit: Duration, send_timeout: Duration) -> Option<Duration> {
    let limit = limit.max(send_timeout.saturating_mul(TCP_SEND_TIMEOUTS)).max(TCP_USER_TIMEOUT_LEAST);
    (limit <= TCP_USER_TIMEOUT_MOST).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn four_probes_are_lost_before_the_limit() {
        for (limit, first, interval) in [(120, 60, 15), (1, 1, 1), (0, 1, 1), (80, 40, 10), (u64::MAX, 32_767, 32_767)]
        {
            assert_eq!(probes(Duration::from_secs(limit)), (SECOND * first, SECOND * interval), "{limit}");
        }
    }

    #[test]
    fn user_timeout_exceeds_the_send_timeout() {
        for (limit, send_timeout, expected) in [
            (120, 30, Some(120)),
            (1, 30, Some(120)),
            (1, 1, Some(120)),
            (300, 30, Some(300)),
            (120, 60, Some(240)),
            (120, 225, Some(900)),
            (120, 226, None),
            (901, 30, None),
            (120, u64::MAX, None),
        ] {
            let outcome = user_timeout(SECOND * limit, Duration::from_secs(send_timeout));
            assert_eq!(outcome, expected.map(Duration::from_secs), "{limit} {send_timeout}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn accepted_socket_inherits_the_options_of_its_listener() {
        for keepalive in [Keepalive::default(), Keepalive::new(Some(SECOND * 200)), Keepalive::new(None)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            keepalive.apply(&listener, SECOND * 30);
            let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let socket = SockRef::from(&accepted);
            assert_eq!(socket.keepalive().unwrap(), keepalive.0.is_some());
            assert_eq!(socket.tcp_user_timeout().unwrap(), keepalive.0);
            if let Some(limit) = keepalive.0 {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), limit / 2);
                assert_eq!(socket.tcp_keepalive_interval().unwrap(), limit / 8);
            }
        }
    }
}
