#![doc = include_str!("../README.md")]

mod error;
mod link;
mod loss;
mod names;
mod slots;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use endpoint_runtime::BoxError;
use endpoint_runtime::cluster::{Backplane, BackplaneFuture, BackplaneLink, Inbound};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo,
};

pub use self::error::Error;
use self::link::Link;
use self::names::Names;
use self::slots::SlotMap;

/// Longest wait for a connection and its greeting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait for the reply to a command. A server that is slower is as good as gone.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// Redis, Valkey or another server with their protocol, version 6 or newer, as the engine of a cluster.
///
/// Packets travel by Pub/Sub, one channel `{prefix}.{subject}` for each subject. Histories are streams with keys
/// `{prefix}.history.{key}`. A link has two connections, one to publish and one to receive.
///
/// If the server belongs to a Redis Cluster, sharded Pub/Sub is used, which needs version 7: each channel and each stream
/// is on the master that has its slot, and a link has two connections to every master. A link is lost when a slot moves;
/// the next link reads the map anew.
///
/// A clone is the same engine.
#[derive(Clone)]
pub struct Redis {
    server: Arc<Server>,
    names: Names,
}

/// What is known about the server.
struct Server {
    info: ConnectionInfo,
    /// Whether it belongs to a Redis Cluster.
    sharded: bool,
    /// The masters of the cluster as they were last seen: one of them is asked when the first address is gone.
    masters: Mutex<Vec<ConnectionAddr>>,
}

impl Redis {
    /// Checks that a server answers at `url`, and what it is. Takes 5 seconds at most.
    ///
    /// The URL is `redis://host:port`, with a user and password as in `redis://user:password@host:port`, and with a
    /// database as in `redis://host:port/1`. With the feature `tls`, `rediss://` connects by TLS and trusts the
    /// certificate authorities of Mozilla. `unix:///path` is a socket of this machine.
    ///
    /// For a Redis Cluster, give the address of any of its servers. The others have to be reachable at the addresses that
    /// `CLUSTER SLOTS` names.
    ///
    /// # Errors
    /// The URL is not valid, nothing answers, the server refuses the credentials, or it is too old.
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection for the check is closed.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let info = url.into_connection_info().map_err(|error| {
            let text = format!("{} is not an address of Redis such as redis://127.0.0.1:6379: {error}", redacted(url));
            Error::caused_by(text, error)
        })?;
        let info = prepared(info);
        let address = info.addr().to_string();
        let check = async {
            let mut connection = open(&info, info.addr().clone(), |_| ()).await?;
            Ok::<String, BoxError>(redis::cmd("INFO").query_async(&mut connection).await?)
        };
        let about = tokio::time::timeout(CONNECT_LIMIT, check).await.unwrap_or_else(|_| Err("no answer in 5 s".into()));
        let about = about.map_err(|error| {
            let text = format!(
                "cannot use Redis at {address}: {error}; start Redis there, or correct the address or its credentials"
            );
            Error::caused_by(text, error)
        })?;
        let sharded = field(&about, "cluster_enabled") == Some("1");
        if sharded {
            let version = field(&about, "redis_version").unwrap_or_default();
            let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            if major.is_some_and(|major| major < 7) {
                return Err(Error::new(format!(
                    "Redis at {address} is version {version}: a Redis Cluster needs 7 or newer, which has sharded Pub/Sub"
                )));
            }
        }
        let server = Server { info, sharded, masters: Mutex::default() };
        Ok(Self { server: Arc::new(server), names: Names::default() })
    }

    /// Prefix of every channel and key, `ws` by default. Applications that share a server need different ones, and the
    /// nodes of one cluster the same.
    /// Bytes other than ASCII letters, digits, `-`, `_` and `:` are written as `%` and two hexadecimal digits.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.names = Names::new(prefix);
        self
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the other fields may have a password
        f.debug_struct("Redis")
            .field("address", &self.server.info.addr().to_string())
            .field("cluster", &self.server.sharded)
            .field("prefix", &self.names.prefix())
            .finish()
    }
}

impl Backplane for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn connect(&self, inbound: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>> {
        Box::pin(async move {
            let link = if self.server.sharded {
                let map = self.server.slots().await?;
                let masters = map.masters.iter().map(|(host, port)| at(self.server.info.addr(), host, *port)).collect();
                Link::open(&self.server.info, masters, Some(map), self.names.clone(), inbound).await?
            } else {
                let master = vec![self.server.info.addr().clone()];
                Link::open(&self.server.info, master, None, self.names.clone(), inbound).await?
            };
            Ok(Box::new(link) as Box<dyn BackplaneLink>)
        })
    }
}

impl Server {
    /// The map of the cluster, from the first address or, if that is gone, from a master that was known before.
    async fn slots(&self) -> Result<SlotMap, BoxError> {
        let mut addresses = vec![self.info.addr().clone()];
        addresses.extend(self.masters.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let mut reasons = Vec::new();
        for address in addresses {
            let name = address.to_string();
            match self.slots_from(address).await {
                Ok(map) => {
                    let masters = map.masters.iter().map(|(host, port)| at(self.info.addr(), host, *port)).collect();
                    *self.masters.lock().unwrap_or_else(PoisonError::into_inner) = masters;
                    return Ok(map);
                }
                Err(error) => reasons.push(format!("{name}: {error}")),
            }
        }
        Err(format!("no server of the Redis Cluster answers: {}", reasons.join("; ")).into())
    }

    async fn slots_from(&self, address: ConnectionAddr) -> Result<SlotMap, BoxError> {
        let host = match &address {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => "127.0.0.1".to_owned(),
        };
        let mut connection = open(&self.info, address, |_| ()).await?;
        let answer = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        Ok(SlotMap::read(&answer, &host)?)
    }
}

/// The address of another server that is reached in the same way.
fn at(example: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    match example {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    }
}

/// Messages of Pub/Sub come as push data on an ordinary connection, which the newer protocol allows.
fn prepared(info: ConnectionInfo) -> ConnectionInfo {
    #[cfg(feature = "tls")]
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // rustls asks the process for its cryptography; a process that has chosen one keeps it
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    }
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    info.set_redis_settings(redis).set_tcp_settings(tcp)
}

/// Opens a connection that ends when it is dropped, and does not reconnect. `push` receives what the server sends without
/// a request, in order, and one `Disconnection` at the end.
async fn open(
    info: &ConnectionInfo,
    address: ConnectionAddr,
    push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, BoxError> {
    let client = Client::open(info.clone().set_addr(address))?;
    let push = move |info| {
        push(info);
        Ok::<(), ()>(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(REPLY_LIMIT))
        .set_push_sender(push);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    Ok(tokio::time::timeout(CONNECT_LIMIT, connecting).await.map_err(|_| "no answer in 5 s")??)
}

/// A field of the answer to `INFO`.
fn field<'a>(about: &'a str, name: &str) -> Option<&'a str> {
    about.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

/// A URL without its user and password, for messages.
fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        // the last place for a password is a query, of a socket
        _ => url.split('?').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_not_in_messages() {
        assert_eq!(redacted("redis://user:se@cret@host:1/0"), "redis://…@host:1/0");
        assert_eq!(redacted("user:secret@host"), "…@host");
        assert_eq!(redacted("unix:///run/redis.sock?pass=secret"), "unix:///run/redis.sock");
        assert_eq!(redacted("localhost"), "localhost");
    }

    #[test]
    fn fields_of_info_are_read() {
        let about = "# Cluster\r\ncluster_enabled:1\r\nredis_version:7.0.15\r\n";
        assert_eq!(field(about, "cluster_enabled"), Some("1"));
        assert_eq!(field(about, "redis_version"), Some("7.0.15"));
        assert_eq!(field(about, "cluster"), None);
    }

    #[tokio::test]
    async fn address_that_is_none_is_refused_without_its_password() {
        let error = Redis::connect("http://user:secret@host").await.unwrap_err().to_string();
        assert!(
            error.starts_with("http://…@host is not an address of Redis such as redis://127.0.0.1:6379"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
