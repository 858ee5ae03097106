//! The container: the table of mounted endpoints, and the entry point that every HTTP server calls with its requests.

mod accept;
pub(crate) mod accepted;
mod admission;
#[cfg(feature = "adopted")]
#[cfg_attr(not(any(feature = "axum", feature = "tungstenite")), allow(dead_code))]
mod adopt;
#[cfg(feature = "axum")]
mod axum;
mod builder;
#[cfg(feature = "adopted")]
#[cfg_attr(not(any(feature = "axum", feature = "tungstenite")), allow(dead_code))]
mod checked_request;
mod client_address;
pub(crate) mod client_options;
mod cluster;
pub(crate) mod configurator;
mod deploy;
mod deploy_log;
pub(crate) mod drain;
mod drain_state;
mod endpoint_config;
pub(crate) mod erased_configurator;
pub(crate) mod guard_setters;
pub(crate) mod guards;
pub(crate) mod handshake_hook;
pub(crate) mod layer;
mod logged_request;
mod metrics;
mod mounted;
pub(crate) mod observe_options;
pub(crate) mod options;
#[cfg(feature = "metrics")]
mod record_metrics;
mod refused;
pub(crate) mod registration;
mod response;
mod service;
pub(crate) mod serving;
mod session_caps;
pub(crate) mod stats;
mod stats_json;
pub(crate) mod status_service;
mod traced;
mod upgrade;
mod upgrading;

#[cfg(feature = "adopted")]
pub use self::adopt::{ExternalRequest, ExternalSocket};
pub use self::builder::ContainerBuilder;
#[cfg(feature = "adopted")]
pub use self::checked_request::CheckedRequest;
pub use self::drain::{Drain, DrainOrder, Drained};
pub use self::endpoint_config::EndpointConfig;
pub use self::response::ResponseFuture;
pub(crate) use self::service::Routed;
pub use self::service::{ServerContainer, Shutdown};
#[cfg(feature = "client")]
pub(crate) use self::service::{end_all, run_shutdown, wait_for_tasks};
#[cfg(feature = "client")]
pub(crate) use self::upgrading::take_socket;
