//! Sockets and readiness: connecting from many loopback addresses, the upgrade on them, and an epoll with a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect as connect_to, setsockopt, socket, sockopt,
};

use super::{SILENCE, Target};
use crate::handshake::{Answer, deflate_in, read_answer, request};

/// Connections come from this many addresses in turn, so that a churn of many thousands does not run out of ports.
const SOURCES: usize = 200;

/// The server answered the upgrade with another status than 101.
#[derive(Debug)]
pub(super) struct Refused(u16);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the upgrade was refused with status {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Starts connecting. The socket does not block; on loopback it usually is connected when this returns.
pub fn connect(target: &Target, number: usize) -> Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("cannot open a socket")?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    // The port is chosen at connect, when only the whole four-tuple has to be free.
    setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
    if target.addr.ip().is_loopback() {
        let source = Ipv4Addr::new(127, 0, 0, 2 + (number % SOURCES) as u8);
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
    }
    match connect_to(fd.as_raw_fd(), &SockaddrIn::from(target.addr)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(e) => Err(e).with_context(|| format!("cannot connect to {}", target.addr)),
    }
}

/// Sends the upgrade request; blocks, but not for long.
pub fn send_request(stream: &mut TcpStream, target: &Target) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.write_all(&upgrade_request(target)).context("cannot send the upgrade request")
}

/// The bytes of it.
pub fn upgrade_request(target: &Target) -> Vec<u8> {
    request(target.addr.into(), &target.path, target.offers_deflate)
}

/// Reads the answer to it and returns the frame bytes that came with it, and whether messages may be compressed; from
/// then on the socket does not block.
pub fn receive_answer(stream: &mut TcpStream, target: &Target) -> Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let length = stream.read(&mut chunk).context("no response to the upgrade request")?;
        ensure!(length > 0, "the server closed the connection on the upgrade request");
        bytes.extend_from_slice(&chunk[..length]);
        if let Some(end) = accepted(&bytes)? {
            stream.set_nonblocking(true)?;
            let deflate = deflate_in(&bytes[..end]);
            if let Some(parameters) = &deflate {
                ensure!(target.offers_deflate, "the server compresses without an offer");
                // the load's compressor has one window, and no message of it is longer than 2 to the power of this
                let small =
                    ["=8", "=9"].iter().any(|bits| parameters.contains(&format!("client_max_window_bits{bits}")));
                ensure!(!small, "the server requires a window below 1 KiB");
            }
            return Ok((bytes.split_off(end), deflate.is_some()));
        }
    }
}

/// Where the frames begin, once the 101 is complete.
pub fn accepted(bytes: &[u8]) -> Result<Option<usize>> {
    match read_answer(bytes) {
        Answer::Incomplete => Ok(None),
        Answer::Accepted(end) => Ok(Some(end)),
        Answer::Refused(status) => Err(Refused(status).into()),
        Answer::Wrong(what) => bail!("the server sent {what}"),
    }
}

/// One read of a socket that does not block: `None` when there is nothing, `Some(0)` at the end.
pub fn read_some(stream: &mut TcpStream, into: &mut [u8]) -> std::io::Result<Option<usize>> {
    loop {
        match stream.read(into) {
            Ok(length) => return Ok(Some(length)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes as much of `bytes` as the socket takes and says how much that was.
pub fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(length) => written += length,
            // `NotConnected`: still connecting.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(written)
}

/// A socket that can do something.
#[derive(Clone, Copy)]
pub struct Ready {
    pub index: usize,
    /// The end of the stream has come too; read until there.
    pub hangup: bool,
}

/// Edge-triggered, in both directions, registered once: no `epoll_ctl` per message.
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); 256] })
    }

    pub fn add(&self, stream: &TcpStream, index: usize) -> Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(stream, EpollEvent::new(flags, index as u64))?)
    }

    /// How many are ready, after `timeout` none.
    pub fn wait_for(&mut self, timeout: Duration) -> Result<usize> {
        let milliseconds = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX);
        loop {
            match self.epoll.wait(&mut self.events, milliseconds) {
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// How many are ready; none for too long is an error.
    pub(super) fn wait(&mut self) -> Result<usize> {
        let count = self.wait_for(SILENCE)?;
        ensure!(count > 0, "the server sent nothing for {} seconds", SILENCE.as_secs());
        Ok(count)
    }

    pub fn ready(&self, at: usize) -> Ready {
        let event = self.events[at];
        let hangup = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        Ready { index: event.data() as usize, hangup: event.events().intersects(hangup) }
    }
}
