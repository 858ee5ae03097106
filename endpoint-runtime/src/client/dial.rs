//! Dials a server: resolves its name, races its addresses (RFC 8305) over TCP, or opens a tunnel through a proxy.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use super::handshake::tunnel;
use super::proxy::Proxy;
use super::uri::Target;
use crate::config::{ADDRESS_DELAY, ADDRESS_DELAY_LEAST, ADDRESSES_AT_ONCE};
use crate::error::{Error, Kind};
use crate::handshake::head::HeadLimits;

/// Connects to the server, through its proxy if one is configured.
pub(crate) async fn dial(
    target: &Target,
    proxy: &Proxy,
    limits: HeadLimits,
    deadline: Instant,
) -> Result<TcpStream, Error> {
    let Some(hop) = proxy.before(target)? else { return connect(&target.host, target.port, deadline).await };
    let stream = connect(&hop.host, hop.port, deadline).await?;
    tunnel(stream, target, hop, limits, deadline).await
}

/// Connects to the address of `host` that answers first.
async fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Error> {
    let connecting = async {
        let addresses = resolve(host, port).await.map_err(|error| {
            Error::with_source(Kind::Io, format!("cannot resolve the host name {host:?}: {error}"), error)
        })?;
        connect_to_any(host, port, addresses, deadline).await
    };
    timeout_at(deadline, connecting)
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, format!("connecting to {host}:{port} timed out"))))
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // RFC 6761 §6.3: names below `localhost` are this machine, which some resolvers do not know
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_below_localhost = name.rsplit_once('.').is_some_and(|(_, last)| last.eq_ignore_ascii_case("localhost"));
    let host = if is_below_localhost { "localhost" } else { host };
    Ok(lookup_host((host, port)).await?.collect())
}

async fn connect_to_any(
    host: &str,
    port: u16,
    addresses: Vec<SocketAddr>,
    deadline: Instant,
) -> Result<TcpStream, Error> {
    let addresses = in_order(addresses);
    let delay = delay_between(addresses.len(), deadline.saturating_duration_since(Instant::now()));
    let failures = match race(&addresses, delay, TcpStream::connect).await {
        Ok(stream) => {
            // a batch is one write: Nagle's algorithm would only delay it
            stream.set_nodelay(true)?;
            return Ok(stream);
        }
        Err(failures) => failures,
    };
    // a name may resolve to any number of addresses
    let shown: Vec<_> = failures.iter().take(4).map(|(address, error)| format!("{address}: {error}")).collect();
    let text = format!("cannot connect to {host}:{port} ({})", shown.join("; "));
    Err(match failures.into_iter().next_back() {
        Some((_, error)) => Error::with_source(Kind::Io, text, error),
        None => Error::new(Kind::Io, format!("the host name {host:?} has no address")),
    })
}

/// Orders addresses for the attempts: the resolver's order, alternating between the two families (RFC 8305 §4), without
/// duplicates.
fn in_order(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            return ordered;
        }
        for address in [one, other].into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
}

/// Time before the next address is tried in parallel: 250 ms, less if the last address would otherwise not be tried
/// before the deadline, but at least 10 ms (RFC 8305 §5).
fn delay_between(addresses: usize, remaining: Duration) -> Duration {
    let share = remaining / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
    share.clamp(ADDRESS_DELAY_LEAST, ADDRESS_DELAY)
}

/// Connects to the addresses, `delay` apart or immediately after a failure (RFC 8305 §5). The first connection wins,
/// and the other attempts are dropped; if all fail, returns the failure of each address.
///
/// Ends only when every attempt has failed, so the caller limits the time.
async fn race<T, F>(
    addresses: &[SocketAddr],
    delay: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.iter().copied();
    let mut attempts = VecDeque::new();
    let mut failures = Vec::new();
    let mut failed = |address, error| {
        tracing::debug!(%error, %address, "cannot connect to one of the server's addresses");
        failures.push((address, error));
    };
    loop {
        if attempts.len() == ADDRESSES_AT_ONCE && waiting.len() > 0 {
            // the oldest attempt has had the time of all later ones
            if let Some((address, _)) = attempts.pop_front() {
                failed(address, io::ErrorKind::TimedOut.into());
            }
        }
        if let Some(address) = waiting.next() {
            attempts.push_back((address, Box::pin(connect(address))));
        } else if attempts.is_empty() {
            return Err(failures);
        }
        tokio::select! {
            biased;
            (address, connected) = poll_fn(|cx| poll_any(&mut attempts, cx)) => match connected {
                Ok(connection) => return Ok(connection),
                Err(error) => failed(address, error),
            },
            () = sleep(delay), if waiting.len() > 0 => {}
        }
    }
}

/// A running attempt to connect to an address.
type Attempt<F> = (SocketAddr, Pin<Box<F>>);

/// Polls every attempt and removes the first that is done.
fn poll_any<F: Future>(attempts: &mut VecDeque<Attempt<F>>, cx: &mut Context<'_>) -> Poll<(SocketAddr, F::Output)> {
    for index in 0..attempts.len() {
        let (address, attempt) = &mut attempts[index];
        if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
            let address = *address;
            attempts.remove(index);
            return Poll::Ready((address, output));
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn address_families_alternate_starting_with_the_resolvers_first() {
        for (resolved, tried) in [
            (&[][..], &[][..]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"],
            ),
            (&["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
            (&["1.1.1.1:1", "1.1.1.1:1", "1.1.1.2:1", "1.1.1.1:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
        ] {
            assert_eq!(in_order(addresses(resolved)), addresses(tried), "{resolved:?}");
        }
    }

    #[test]
    fn last_address_is_tried_before_the_deadline() {
        for (count, remaining, delay) in
            [(0, 30_000, 250), (2, 30_000, 250), (300, 30_000, 100), (2, 200, 100), (4, 0, 10), (usize::MAX, 1, 10)]
        {
            assert_eq!(delay_between(count, Duration::from_millis(remaining)), Duration::from_millis(delay), "{count}");
        }
    }

    /// Behaviour of an address: never answers, fails, or connects, after the given milliseconds.
    #[derive(Clone, Copy)]
    enum Does {
        Nothing,
        Fail(u64),
        Connect(u64),
    }

    const DELAY: Duration = Duration::from_millis(250);

    /// Races addresses 1.1.1.0, 1.1.1.1, …; returns the winner, its time in milliseconds, and when each was tried.
    async fn run(addresses: &[Does]) -> (Option<u8>, u128, Vec<u128>) {
        let (start, tried) = (Instant::now(), Mutex::new(Vec::new()));
        let list: Vec<SocketAddr> = (0..addresses.len() as u8).map(|n| ([1, 1, 1, n], 1).into()).collect();
        let winner = race(&list, DELAY, |address| {
            tried.lock().unwrap().push(start.elapsed().as_millis());
            let index = list.iter().position(|other| *other == address).unwrap();
            let does = addresses[index];
            async move {
                match does {
                    Does::Nothing => std::future::pending().await,
                    Does::Fail(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                    Does::Connect(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(index as u8)
                    }
                }
            }
        });
        let winner = winner.await.ok();
        (winner, start.elapsed().as_millis(), tried.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn first_connection_wins() {
        use Does::{Connect, Fail, Nothing};
        for (addresses, expected) in [
            (&[Nothing, Connect(0)][..], (Some(1), 250, vec![0, 250])),
            (&[Nothing, Nothing, Connect(5)], (Some(2), 505, vec![0, 250, 500])),
            // the next is tried immediately after a failure
            (&[Fail(0), Connect(5)], (Some(1), 5, vec![0, 0])),
            (&[Fail(100), Fail(100), Connect(0)], (Some(2), 200, vec![0, 100, 200])),
            // a slow address wins against a slower one that was tried later
            (&[Connect(300), Connect(100)], (Some(0), 300, vec![0, 250])),
            (&[Connect(400), Connect(100)], (Some(1), 350, vec![0, 250])),
            // a quick address needs no second attempt
            (&[Connect(249), Connect(0)], (Some(0), 249, vec![0])),
            (&[Fail(10), Fail(20)], (None, 30, vec![0, 10])),
            (&[], (None, 0, vec![])),
        ] {
            assert_eq!(run(addresses).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_attempts_are_bounded_and_every_address_is_tried() {
        let mut addresses = [Does::Nothing; 100];
        addresses[99] = Does::Connect(0);
        let (winner, after, tried) = run(&addresses).await;
        assert_eq!((winner, after, tried.len()), (Some(99), 99 * 250, 100));
    }

    /// An address that swallows connections: its listener never accepts, and its backlog is full.
    #[cfg(target_os = "linux")]
    async fn black_hole(address: &str) -> (SocketAddr, Vec<Box<dyn Send>>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut kept: Vec<Box<dyn Send>> = vec![Box::new(listener)];
        loop {
            match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
                Ok(stream) => kept.push(Box::new(stream.unwrap())),
                Err(_) => return (address, kept),
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn unresponsive_address_does_not_delay_the_next() {
        let (hole, _kept) = black_hole("127.0.0.2:0").await;
        let server = tokio::net::TcpListener::bind("127.0.0.3:0").await.unwrap();
        let address = server.local_addr().unwrap();
        // less than the kernel's timeout; the test uses only a fraction of it
        let deadline = Instant::now() + Duration::from_secs(20);
        let connecting = connect_to_any("server", 1, vec![hole, address], deadline);
        let stream = timeout_at(deadline, connecting).await.expect("the second address was not tried").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn every_address_that_failed_is_named() {
        let unused = |address: &str| std::net::TcpListener::bind(address).unwrap().local_addr().unwrap();
        let refusing = vec![unused("127.0.0.2:0"), unused("127.0.0.3:0")];
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = connect_to_any("server", 1, refusing.clone(), deadline).await.unwrap_err();
        assert!(error.is_io() && refusing.iter().all(|a| error.to_string().contains(&a.to_string())), "{error}");
        let error = connect_to_any("server", 1, Vec::new(), deadline).await.unwrap_err();
        assert!(error.is_io() && error.to_string().contains("no address"), "{error}");
    }

    #[tokio::test]
    async fn names_below_localhost_are_this_machine() {
        for name in ["app.localhost", "a.b.LocalHost."] {
            let addresses = resolve(name, 7).await.unwrap();
            assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()), "{name}");
        }
    }
}
