//! What happens to a connection between its accept and its first request: limits, refusals, and whose address counts.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::{LINGER, LINGER_BYTES, LINGERING, RETRY_AFTER};
use crate::container::ServerContainer;
use crate::handshake::proxy_protocol::ProxyProtocol;
use crate::handshake::trusted_proxies::TrustedProxies;
use crate::limits::connections::{ConnectionCounts, Exceeded};
use crate::limits::slots::{Slot, Slots};
use crate::observe::log_rate::LogRate;

/// Whether a connection begins with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    No,
    May,
    Must,
    /// It must, and the peer is not trusted to send one.
    Untrusted,
}

/// Decides which connections of a server are served.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) counts: ConnectionCounts,
    proxy_protocol: ProxyProtocol,
    /// If it is empty, headers of the PROXY protocol are believed from everyone.
    proxies: TrustedProxies,
    /// With TLS a refusal is a close, because an answer would take a handshake.
    answers: Option<Answers>,
    lingering: Arc<Slots>,
    refused: LogRate,
    bad_headers: LogRate,
}

impl Admission {
    pub(super) fn new(
        counts: ConnectionCounts,
        proxy_protocol: ProxyProtocol,
        proxies: TrustedProxies,
        is_secure: bool,
    ) -> Self {
        Self {
            counts,
            proxy_protocol,
            proxies,
            answers: (!is_secure).then(Answers::new),
            lingering: Slots::new(LINGERING),
            refused: LogRate::default(),
            bad_headers: LogRate::default(),
        }
    }

    /// Whether a connection of this peer begins with a header. A peer of a Unix socket has no address, and is trusted.
    pub(super) fn header_of(&self, peer: Option<IpAddr>) -> Header {
        let is_trusted = self.proxies.is_empty() || peer.is_none_or(|peer| self.proxies.contains(peer));
        match (self.proxy_protocol, is_trusted) {
            (ProxyProtocol::Off, _) | (ProxyProtocol::Optional, false) => Header::No,
            (ProxyProtocol::Optional, true) => Header::May,
            (ProxyProtocol::Required, true) => Header::Must,
            (ProxyProtocol::Required, false) => Header::Untrusted,
        }
    }

    /// The address that the limits count for a peer that connects itself; `None` for a proxy and for a Unix socket.
    pub(super) fn counted(&self, peer: Option<IpAddr>) -> Option<IpAddr> {
        peer.filter(|peer| self.counts.limits_addresses() && !self.proxies.contains(*peer))
    }

    /// Counts and logs a connection over a limit. Returns what it takes to answer; otherwise it is to be closed.
    pub(super) fn refuse(
        &self,
        container: &ServerContainer,
        peer: Option<IpAddr>,
        exceeded: Exceeded,
    ) -> Option<Answering> {
        container.connection_counters().refused.add(1);
        if let Some(not_logged) = self.refused.due() {
            let limit = exceeded.setting();
            tracing::warn!(limit, peer = ?peer, not_logged, "a connection was refused: it is over a limit");
        }
        let answers = self.answers.as_ref()?;
        let answer = if exceeded.is_of_address() { &answers.address } else { &answers.all };
        Some(Answering { answer: answer.clone(), _slot: self.lingering.acquire()? })
    }

    /// Counts and logs a connection without a valid header of the PROXY protocol.
    pub(super) fn bad_header(&self, container: &ServerContainer, peer: Option<IpAddr>, error: &dyn fmt::Display) {
        container.connection_counters().bad_proxy_headers.add(1);
        if let Some(not_logged) = self.bad_headers.due() {
            tracing::warn!(%error, peer = ?peer, not_logged, "a connection was closed: no valid PROXY protocol header");
        }
    }
}

/// Whole answers to connections over a limit, whatever they ask for.
#[derive(Debug)]
struct Answers {
    all: Arc<[u8]>,
    address: Arc<[u8]>,
}

impl Answers {
    fn new() -> Self {
        let answer = |status: &str, body: &str| {
            let (after, length) = (RETRY_AFTER.as_secs(), body.len());
            let answer = format!(
                "HTTP/1.1 {status}\r\nretry-after: {after}\r\nconnection: close\r\n\
                 content-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            answer.into_bytes().into()
        };
        Self {
            all: answer("503 Service Unavailable", "the server has too many connections: try again later"),
            address: answer("429 Too Many Requests", "too many connections from this address: try again later"),
        }
    }
}

/// The answer to a connection over a limit, and one of the places for such connections.
pub(super) struct Answering {
    answer: Arc<[u8]>,
    _slot: Slot,
}

impl Answering {
    /// Answers without reading a request, and closes. What the client sends is read and dropped for a short time: a close
    /// with unread input resets the connection, and the client may never see the answer.
    pub(super) async fn run(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let closing = async {
            stream.write_all(&self.answer).await?;
            stream.shutdown().await?;
            let (mut left, mut buffer) = (LINGER_BYTES, [0; 512]);
            while left > 0 {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            std::io::Result::Ok(())
        };
        // whatever the outcome, the connection is closed
        let _ = timeout(LINGER, closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::connections::ConnectionLimits;

    fn admission(proxy_protocol: ProxyProtocol, proxies: &'static [&'static str]) -> Admission {
        let proxies = TrustedProxies::list(proxies).unwrap();
        let limits = ConnectionLimits { per_address: Some(1), ..ConnectionLimits::default() };
        Admission::new(ConnectionCounts::new(&limits, 64), proxy_protocol, proxies, false)
    }

    #[test]
    fn headers_are_believed_from_known_proxies_alone() {
        let [proxy, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().ok());
        for (mode, proxies, expected) in [
            (ProxyProtocol::Off, &[][..], [Header::No, Header::No, Header::No]),
            (ProxyProtocol::Optional, &[], [Header::May, Header::May, Header::May]),
            (ProxyProtocol::Optional, &["192.0.2.1"], [Header::May, Header::No, Header::May]),
            (ProxyProtocol::Required, &[], [Header::Must, Header::Must, Header::Must]),
            (ProxyProtocol::Required, &["192.0.2.1"], [Header::Must, Header::Untrusted, Header::Must]),
        ] {
            let admission = admission(mode, proxies);
            assert_eq!([proxy, other, None].map(|peer| admission.header_of(peer)), expected, "{mode:?} {proxies:?}");
        }
    }

    #[test]
    fn connections_of_a_known_proxy_do_not_count_for_its_address() {
        let [proxy, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().ok());
        let admission = admission(ProxyProtocol::Off, &["192.0.2.1"]);
        assert_eq!([proxy, other, None].map(|peer| admission.counted(peer)), [None, other, None]);
    }
}
