//! What a server reports when it starts: to the log, or to the standard error stream if nobody listens to the log.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

use crate::container::ServerContainer;

/// Maximum number of URLs in the line; each endpoint has its own line anyway.
const MOST_URLS: usize = 8;

/// Reports the URLs of the endpoints. Without a subscriber of `tracing` this is printed, and so are the warnings about
/// the deployment, unless the server is `quiet`.
pub(super) fn report(container: &ServerContainer, addr: Option<SocketAddr>, is_secure: bool, quiet: bool) {
    let listening = Listening { container, addr, scheme: if is_secure { "wss" } else { "ws" } };
    tracing::info!("{listening}");
    // the subscriber of this task: the application may set one for a thread alone
    if !quiet && dispatcher::get_default(|dispatch| dispatch.is::<NoSubscriber>()) {
        // a stream that is closed is no reason to fail
        let _ = print(&listening, &container.deployment_warnings());
    }
}

fn print(listening: &Listening<'_>, warnings: &[String]) -> io::Result<()> {
    let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    // in one piece, and not with `eprint`, which would panic
    io::stderr().write_all(format!("{warnings}{listening}\n").as_bytes())
}

/// The line with the URLs of the endpoints.
struct Listening<'c> {
    container: &'c ServerContainer,
    addr: Option<SocketAddr>,
    scheme: &'static str,
}

impl fmt::Display for Listening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, scheme, .. } = self;
        f.write_str("listening on ")?;
        let Some(addr) = self.addr else { return f.write_str("an unknown address") };
        let paths = container.paths();
        if paths.is_empty() {
            return write!(f, "{addr}");
        }
        for (index, path) in paths.iter().take(MOST_URLS).enumerate() {
            write!(f, "{}{scheme}://{addr}{path}", if index > 0 { ", " } else { "" })?;
        }
        match paths.len().saturating_sub(MOST_URLS) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
