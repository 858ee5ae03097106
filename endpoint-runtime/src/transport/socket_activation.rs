//! Sockets that systemd has bound and passes to the program (`sd_listen_fds(3)`).

use std::env;
use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};

use listenfd::ListenFd;

use super::bound::Bound;
use super::unix_socket::unix_name;

/// The sockets that were passed and are not taken yet.
static PASSED: LazyLock<Mutex<Passed>> = LazyLock::new(|| Mutex::new(Passed::of_environment()));

struct Passed {
    sockets: ListenFd,
    /// Their names (`LISTEN_FDNAMES`), if there are any.
    names: Vec<String>,
}

impl Passed {
    fn of_environment() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { sockets: ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }
}

/// Takes the sockets with this name, or all that are left.
pub(super) fn take(wanted: Option<&str>) -> io::Result<Vec<Bound>> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = Vec::new();
    for index in 0..passed.sockets.len() {
        if wanted.is_none_or(|wanted| passed.names.get(index).is_some_and(|name| name == wanted)) {
            taken.extend(take_one(&mut passed.sockets, index)?);
        }
    }
    if taken.is_empty() {
        let text = "systemd passed none to this process: start its socket unit, and check LISTEN_FDS and LISTEN_PID";
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(taken)
}

/// Takes one of them; `None` if it was taken before.
fn take_one(sockets: &mut ListenFd, index: usize) -> io::Result<Option<Bound>> {
    if let Ok(tcp) = sockets.take_tcp_listener(index) {
        return tcp.map(Bound::std).transpose();
    }
    let Some(unix) = sockets.take_unix_listener(index)? else { return Ok(None) };
    let name = unix_name(unix.local_addr().ok().as_ref().and_then(|addr| addr.as_pathname()));
    Bound::std_unix(unix, name).map(Some)
}
