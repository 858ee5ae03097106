//! Unix sockets that a server creates: the file, its permissions, and its removal.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Maximum time to find out whether somebody listens on a socket: the kernel answers at once.
const PROBE: Duration = Duration::from_secs(1);

/// Creates a socket at `path`, and replaces one on which nobody listens.
pub(super) async fn bind_unix(
    path: &Path,
    permissions: Option<u32>,
    backlog: u32,
) -> io::Result<(UnixListener, SocketFile)> {
    let bound = match bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path).await?;
            bind(path)
        }
        bound => bound,
    };
    let (socket, file) = bound?;
    if let Some(mode) = permissions {
        // nobody can connect before `listen`
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn bind(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    Ok((socket, file))
}

/// Removes the socket at `path` if nobody listens on it.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |text| Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("there is a file that is not a socket");
    }
    match timeout(PROBE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // a server whose backlog is full refuses in another way
        _ => in_use("another process listens on it"),
    }
}

/// The file of a socket that the server has created: it is removed on drop, unless it has been replaced.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        // a working directory that changes must not matter
        let path = std::path::absolute(path)?;
        Ok(Self { identity: identity(&path)?, path })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::debug!(%error, path = %self.path.display(), "cannot remove the socket");
            }
        }
    }
}

/// The name of a Unix socket, as the log shows it.
pub(super) fn unix_name(path: Option<&Path>) -> String {
    path.map_or_else(|| "a Unix socket without a path".to_owned(), |path| format!("unix:{}", path.display()))
}
