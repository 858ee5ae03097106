//! What a server reports when it starts: to the log, or to the standard error stream if nobody listens to the log.

use std::fmt;
use std::io::{self, Write};

use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

use crate::container::ServerContainer;
use crate::transport::bound::Bound;

/// Maximum number of URLs in the line; each endpoint has its own line anyway.
const MOST_URLS: usize = 8;

/// Reports the URLs of the endpoints. Without a subscriber of `tracing` this is printed, and so are the warnings about
/// the deployment, unless the server is `quiet`.
pub(super) fn report(container: &ServerContainer, listeners: &[Bound], is_secure: bool, quiet: bool) {
    let listening = Listening { container, listeners, scheme: if is_secure { "wss" } else { "ws" } };
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
    listeners: &'c [Bound],
    scheme: &'static str,
}

impl fmt::Display for Listening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, listeners, scheme } = self;
        f.write_str("listening on ")?;
        let mut separator = "";
        let (paths, mut urls) = (container.paths(), 0);
        for listener in *listeners {
            let addr = &listener.name;
            let is_tcp = listener.acceptors.first().is_some_and(|acceptor| acceptor.tcp_addr().is_some());
            if paths.is_empty() || !is_tcp {
                write!(f, "{separator}{addr}")?;
                separator = ", ";
                continue;
            }
            for path in &paths {
                urls += 1;
                if urls <= MOST_URLS {
                    write!(f, "{separator}{scheme}://{addr}{path}")?;
                    separator = ", ";
                }
            }
        }
        match urls.saturating_sub(MOST_URLS) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
