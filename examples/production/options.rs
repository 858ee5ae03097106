//! The command line. Each flag can be an environment variable as well.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};
use endpoint_runtime::{ProxyProtocol, Rate};

/// An echo at /ws, ready for the internet. A limit that is not given is off, or has its safe default.
#[derive(Parser)]
#[command(name = "production")]
pub struct Options {
    /// Where clients connect. Not used if systemd passes a socket
    #[arg(long, env = "ADDR", value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub addr: String,

    /// Where /metrics, /healthz, /readyz, /stats and the page are. Keep it away from the internet
    #[arg(long, env = "ADMIN_ADDR", value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    pub admin_addr: String,

    /// Most TCP connections at a time; further ones get 503, or are closed behind --tls-cert
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "COUNT", value_parser = count)]
    pub max_connections: Option<usize>,

    /// Most TCP connections of one client address at a time; further ones get 429, or are closed behind --tls-cert. Behind a
    /// proxy this needs --proxy-protocol
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", value_parser = count)]
    pub max_connections_per_address: Option<usize>,

    /// New TCP connections that one client address may make, such as "10/s burst 50"; as the option before
    #[arg(long, env = "HANDSHAKES_PER_ADDRESS", value_name = "RATE")]
    pub handshakes_per_address: Option<Rate>,

    /// Most sessions at a time; further ones get 503
    #[arg(long, env = "MAX_SESSIONS", value_name = "COUNT", value_parser = count)]
    pub max_sessions: Option<usize>,

    /// Most sessions of one client address at a time; further ones get 429
    #[arg(long, env = "MAX_SESSIONS_PER_ADDRESS", value_name = "COUNT", value_parser = count)]
    pub max_sessions_per_address: Option<usize>,

    /// Messages that each session may send, such as "20/s burst 40". A faster peer is read more slowly
    #[arg(long, env = "RATE", value_name = "RATE")]
    pub rate: Option<Rate>,

    /// Networks of the proxies in front, whose X-Forwarded headers are believed, such as 10.0.0.0/8
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,

    /// Whether connections begin with a header of the PROXY protocol
    #[arg(long, env = "PROXY_PROTOCOL", value_name = "MODE", default_value = "off")]
    pub proxy_protocol: ProxyMode,

    /// Names that clients may connect to; needed behind a proxy on the same machine
    #[arg(long, env = "ALLOWED_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,

    /// Origins of pages that may connect, such as https://example.org, or * for all; by default those of the server itself
    #[arg(long, env = "ALLOWED_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,

    /// The certificate chain, in PEM; it is read again when it changes
    #[arg(long, env = "TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of the certificate, in PEM
    #[arg(long, env = "TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Time in which sessions leave before the program stops, such as 60s. A second signal stops it at once
    #[arg(long, env = "DRAIN", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub drain: Option<Duration>,

    /// Admits only clients with a JSON Web Token that is signed with this secret (HS256)
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub jwt_secret: Option<String>,
}

/// How `--proxy-protocol` is written.
#[derive(Clone, Copy, ValueEnum)]
pub enum ProxyMode {
    /// No connection has one.
    Off,
    /// A connection of a trusted proxy may have one.
    Optional,
    /// Each connection has one.
    Required,
}

impl From<ProxyMode> for ProxyProtocol {
    fn from(mode: ProxyMode) -> Self {
        match mode {
            ProxyMode::Off => Self::Off,
            ProxyMode::Optional => Self::Optional,
            ProxyMode::Required => Self::Required,
        }
    }
}

/// Parses a limit, which is at least one.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("a limit is at least 1; leave the flag out for no limit".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}
