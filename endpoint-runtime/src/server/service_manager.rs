//! Tells systemd, or another service manager with the same protocol, that the server is ready, stops, and is alive
//! (`sd_notify(3)`).

use std::env;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

use tokio::task::JoinSet;

/// The service manager, if the environment names one (`NOTIFY_SOCKET`).
#[derive(Debug)]
pub(super) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    pub(super) fn of_environment() -> Self {
        let socket = env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty());
        Self(socket.and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, path, "cannot tell the service manager that the server is ready");
                None
            }
        }))
    }

    /// The server accepts connections. If the unit has a watchdog (`WatchdogSec=`), it is told twice in its time that the
    /// server is alive, until the result is dropped.
    pub(super) fn ready(&self) -> JoinSet<()> {
        self.tell("READY=1\n");
        let mut watchdog = JoinSet::new();
        let socket = self.0.as_ref().and_then(|socket| socket.try_clone().ok());
        if let (Some(socket), Some(limit)) = (socket, watchdog_limit()) {
            watchdog.spawn(async move {
                let mut ticks = tokio::time::interval(limit / 2);
                loop {
                    ticks.tick().await;
                    tell(&socket, "WATCHDOG=1\n");
                }
            });
        }
        watchdog
    }

    /// The shutdown begins.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.0 {
            tell(socket, state);
        }
    }
}

/// A socket of the file system, or one of Linux that has a name alone (`@name`).
fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // a service manager that does not read must not stop the server
    socket.set_nonblocking(true)?;
    match path.strip_prefix('@') {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(name) => {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        }
        _ => socket.connect(path)?,
    }
    Ok(socket)
}

fn tell(socket: &UnixDatagram, state: &str) {
    if let Err(error) = socket.send(state.as_bytes()) {
        tracing::warn!(%error, state = state.trim_end(), "cannot notify the service manager");
    }
}

/// The time of the watchdog, if this process has one (`WATCHDOG_USEC`, `WATCHDOG_PID`).
fn watchdog_limit() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let is_ours = env::var("WATCHDOG_PID").is_ok_and(|pid| pid == process::id().to_string());
    let is_unset = env::var_os("WATCHDOG_PID").is_none();
    // half of it has to be a time to wait for
    (micros > 1 && (is_ours || is_unset)).then(|| Duration::from_micros(micros))
}
