#![doc = include_str!("../README.md")]

mod error;
mod history;
mod link;
mod loss;
mod names;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use endpoint_runtime::BoxError;
use endpoint_runtime::cluster::{Backplane, BackplaneFuture, BackplaneLink, Inbound};

pub use self::error::Error;
use self::link::Link;
use self::names::Names;

/// Longest wait for a connection and its greeting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait for what the server has to confirm. A server that is slower is as good as gone.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// How often a connection is tried. A network that drops packets silently closes no connection.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// NATS, version 2.9 or newer, as the engine of a cluster.
///
/// Packets travel by core NATS, one subject `{prefix}.{subject}` for each subject. A link has one connection, and each of
/// its requests ends with a message to itself: when that is back, the server has taken everything before it. A server of
/// a NATS cluster tells the others of a subscription a moment later.
///
/// Histories need JetStream. They are in one stream, `{prefix}_history`, which the engine creates. For each key the stream
/// keeps 128 entries for a day, and as soon as a history needs more, 1024 or 10,000 entries for 30 days or without end;
/// 10,000 entries are the limit. To have it replicated, create it before, with the subjects `{prefix}.history.>`: the
/// engine changes nothing else than these two limits, and only upwards. A history with a key of more than 2 KiB is not
/// kept.
///
/// A clone is the same engine.
#[derive(Clone)]
pub struct Nats {
    server: Arc<Server>,
    names: Names,
}

/// What is known about the server.
struct Server {
    addresses: Vec<ServerAddr>,
    /// The same as text, without passwords.
    names: String,
    /// Half of the largest message.
    max_packet: usize,
    jetstream: bool,
}

impl Nats {
    /// Checks that a server answers at `url`, and what it is. Takes 5 seconds at most for each address.
    ///
    /// The URL is `nats://host:port`, with a user and password as in `nats://user:password@host:port`, or with a token as
    /// in `nats://token@host:port`. The scheme `tls://` demands TLS and trusts the certificate authorities of the system.
    /// Several servers of one NATS cluster are separated by commas; the credentials of the first one count for all.
    ///
    /// # Errors
    /// The URL is not valid, nothing answers, or the server refuses the credentials.
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection for the check is closed.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let mut addresses = Vec::new();
        for address in url.split(',') {
            let address = address.trim();
            addresses.push(address.parse::<ServerAddr>().map_err(|error| {
                let text =
                    format!("{} is not an address of NATS such as nats://127.0.0.1:4222: {error}", redacted(address));
                Error::caused_by(text, error)
            })?);
        }
        let names: Vec<_> = addresses.iter().map(|address| format!("{}:{}", address.host(), address.port())).collect();
        let names = names.join(", ");
        let client = open(&addresses, |_| ()).await.map_err(|error| {
            let text = format!(
                "cannot use NATS at {names}: {error}; start NATS there, or correct the address or its credentials"
            );
            Error::caused_by(text, error)
        })?;
        let jetstream = history::is_available(&client).await;
        let server = Server { addresses, names, max_packet: client.max_payload() / 2, jetstream };
        Ok(Self { server: Arc::new(server), names: Names::default() })
    }

    /// Prefix of every subject and of the stream, `ws` by default. Applications that share an account need different
    /// ones, and the nodes of one cluster the same.
    /// Bytes other than ASCII letters, digits, `-` and `_` are written as `%` and two hexadecimal digits.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.names = Names::new(prefix);
        self
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the addresses themselves may have a password
        f.debug_struct("Nats")
            .field("addresses", &self.server.names)
            .field("jetstream", &self.server.jetstream)
            .field("prefix", &self.names.prefix())
            .finish()
    }
}

impl Backplane for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    /// Half of the server's `max_payload`.
    fn max_packet(&self) -> usize {
        self.server.max_packet
    }

    /// Whether the server has JetStream.
    fn keeps_history(&self) -> bool {
        self.server.jetstream
    }

    fn connect(&self, inbound: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>> {
        Box::pin(async move {
            let link = Link::open(&self.server.addresses, self.server.jetstream, self.names.clone(), inbound).await;
            let link = link.map_err(|error| format!("cannot connect to NATS at {}: {error}", self.server.names))?;
            Ok(Box::new(link) as Box<dyn BackplaneLink>)
        })
    }
}

/// Opens a connection that ends when its client is dropped. `lost` is called with the reason when it is of no use any
/// more; the client then tries each address once more and gives up, because it cannot be told not to.
async fn open(
    addresses: &[ServerAddr],
    lost: impl Fn(String) + Clone + Send + Sync + 'static,
) -> Result<Client, BoxError> {
    let events = move |event| {
        match event {
            Event::Disconnected | Event::Closed => lost("the connection to NATS has ended".to_owned()),
            // a subscription or message that the permissions forbid, for example
            Event::ServerError(error) => lost(format!("NATS reports: {error}")),
            Event::SlowConsumer(_) => lost("the messages of a subscription came faster than they were read".to_owned()),
            _ => {}
        }
        std::future::ready(())
    };
    // the client does not read them from the address
    let options = match addresses.iter().find_map(|address| Some((address.username()?, address.password()))) {
        Some((user, Some(password))) => ConnectOptions::with_user_and_password(decoded(user), decoded(password)),
        Some((token, None)) => ConnectOptions::with_token(decoded(token)),
        None => ConnectOptions::new(),
    };
    let options = options
        .name("endpoint-nats")
        .connection_timeout(CONNECT_LIMIT)
        .request_timeout(Some(REPLY_LIMIT))
        .ping_interval(PING_INTERVAL)
        .max_reconnects(addresses.len())
        .ignore_discovered_servers()
        .event_callback(events);
    Ok(options.connect(addresses.to_vec()).await?)
}

/// A user or password of a URL, in which some characters are written as `%` and their number.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A URL without its user and password, for messages.
fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_not_in_messages() {
        assert_eq!(redacted("nats://user:se@cret@host:1"), "nats://…@host:1");
        assert_eq!(redacted("user:secret@host"), "…@host");
        assert_eq!(redacted("localhost"), "localhost");
    }

    #[tokio::test]
    async fn address_that_is_none_is_refused_without_its_password() {
        let error = Nats::connect("nats://127.0.0.1,http://user:secret@host").await.unwrap_err().to_string();
        assert!(error.starts_with("http://…@host is not an address of NATS such as nats://127.0.0.1:4222"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
