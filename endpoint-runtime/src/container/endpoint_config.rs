//! The configuration of an endpoint without annotations.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use super::erased_configurator::Configured;
use super::guards::GuardSettings;
use super::mounted::{About, Mounting};
use super::options::set_twice;
use super::registration::prepare_programmatic;
use super::serving::Prepare;
use crate::cluster::Keep;
use crate::config::{Compression, EndpointOptions};
use crate::container::configurator::Configurator;
use crate::endpoint::interceptor::{Interceptor, SharedInterceptor};
use crate::endpoint::programmatic::Endpoint;
use crate::limits::message_rate::MessageRate;

/// Configuration of an endpoint without annotations (Jakarta's `ServerEndpointConfig`): its path, its constructor, and
/// the options of an annotation. Options that are not set default to the container's settings.
///
/// ```
/// use std::time::Duration;
///
/// use endpoint_runtime::{Endpoint, EndpointConfig, Error, ServerContainer, Session};
///
/// struct Feed(&'static str);
///
/// impl Endpoint for Feed {
///     async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
///         session.basic_remote().send_text(self.0).await
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let news = EndpointConfig::new("/news", || Feed("news")).subprotocols(&["feed.v1"]).idle_timeout(None);
/// let container = ServerContainer::builder().add_endpoint_config(news).build()?;
/// # Ok(()) }
/// ```
#[must_use]
pub struct EndpointConfig<E> {
    about: About,
    options: EndpointOptions,
    prepare: Prepare,
    configured: Option<Configured>,
    guards: GuardSettings,
    mistakes: Vec<String>,
    endpoint: PhantomData<fn() -> E>,
}

impl<E: Endpoint> EndpointConfig<E> {
    /// An endpoint at `path`, which may contain variables. `construct` is called for each connection; a panic in it
    /// refuses the handshake with 500.
    #[track_caller]
    pub fn new(path: impl Into<String>, construct: impl Fn() -> E + Send + Sync + 'static) -> Self {
        let place = Location::caller();
        let about = About {
            path: Cow::Owned(path.into()),
            name: std::any::type_name::<E>(),
            file: place.file(),
            line: place.line(),
        };
        Self {
            about,
            options: EndpointOptions::DEFAULT,
            prepare: prepare_programmatic(construct),
            configured: None,
            guards: GuardSettings::default(),
            mistakes: Vec::new(),
            endpoint: PhantomData,
        }
    }

    /// Notes that an option which can be set only once is set again.
    fn check_first(&mut self, is_first: bool, option: &str) {
        if !is_first {
            self.mistakes.push(set_twice(option));
        }
    }

    /// Sets the handshake hooks.
    pub fn configurator(mut self, configurator: impl Configurator<E>) -> Self {
        self.check_first(self.configured.is_none(), "`configurator`");
        self.configured = Some(Configured::programmatic(configurator));
        self
    }

    /// The supported subprotocols.
    pub fn subprotocols(mut self, names: &'static [&'static str]) -> Self {
        self.check_first(self.options.subprotocols.is_empty(), "`subprotocols`");
        self.options.subprotocols = names;
        self
    }

    /// Admits only principals with one of these roles.
    pub fn roles(mut self, roles: &'static [&'static str]) -> Self {
        self.check_first(self.options.roles.is_empty(), "`roles`");
        self.options.roles = roles;
        self
    }

    /// Maximum size of a whole message in bytes.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.options.max_message_size = Some(bytes);
        self
    }

    /// Maximum nesting depth of the data of a message, in levels; see
    /// [`ContainerBuilder::max_nesting`](crate::ContainerBuilder::max_nesting).
    pub fn max_nesting(mut self, levels: usize) -> Self {
        self.options.max_nesting = Some(levels);
        self
    }

    /// Ends a session after this long without traffic; `None` disables the timeout.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.idle_timeout = Some(timeout);
        self
    }

    /// Sends a ping when either side was silent for this long; `None` disables pings.
    pub fn ping_interval(mut self, interval: Option<Duration>) -> Self {
        self.options.ping_interval = Some(interval);
        self
    }

    /// Ends a session when the peer sends nothing for this long after a ping was written; `None` disables the timeout.
    pub fn pong_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.pong_timeout = Some(timeout);
        self
    }

    /// Makes sessions present in the rooms that they join ([`Session::presence`](crate::Session::presence)). When a
    /// session ends, its user stays present for `grace`. By default sessions are not present. Only an annotated endpoint
    /// can hear the changes.
    pub fn presence(mut self, grace: Duration) -> Self {
        self.options.presence = Some(grace);
        self
    }

    /// In a cluster, the engine keeps so many messages of each room, and nodes fetch those that they missed. Applies to
    /// all rooms of the container. By default nothing is kept.
    pub fn history(mut self, keep: Keep) -> Self {
        self.options.history = Some((keep.last, keep.within));
        self
    }

    /// Maximum number of open sessions of this endpoint, see
    /// [`ContainerBuilder::max_sessions`](crate::ContainerBuilder::max_sessions), which counts in addition. Default: no
    /// limit.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.options.max_sessions = Some(sessions);
        self
    }

    /// Maximum number of open sessions of one address at this endpoint, see
    /// [`ContainerBuilder::max_sessions_per_address`](crate::ContainerBuilder::max_sessions_per_address), which counts in
    /// addition. Default: no limit.
    pub fn max_sessions_per_address(mut self, sessions: usize) -> Self {
        self.options.max_sessions_per.get_or_insert_default().0 = Some(sessions);
        self
    }

    /// Maximum number of open sessions of one user at this endpoint, see
    /// [`ContainerBuilder::max_sessions_per_principal`](crate::ContainerBuilder::max_sessions_per_principal), which counts
    /// in addition. Default: no limit.
    pub fn max_sessions_per_principal(mut self, sessions: usize) -> Self {
        self.options.max_sessions_per.get_or_insert_default().1 = Some(sessions);
        self
    }

    /// Adds an interceptor, which all sessions of the endpoint share; see [`Interceptor`]. It runs inside those of the
    /// container and those added before. By default there are none.
    pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
        self.guards.interceptors.push(SharedInterceptor::new(interceptor));
        self
    }

    /// How much the peer of a session may send, and what happens to more. Default: that of the container.
    pub fn rate(mut self, rate: MessageRate) -> Self {
        self.check_first(self.guards.rate.is_none(), "`rate`");
        self.guards.rate = Some(rate);
        self
    }

    /// Compression of messages.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = Some(compression);
        self
    }
}

impl<E: Endpoint> From<EndpointConfig<E>> for Mounting {
    fn from(config: EndpointConfig<E>) -> Self {
        let EndpointConfig { about, options, prepare, configured, guards, mistakes, .. } = config;
        let prepare = Some(Ok(prepare));
        Self { about, registration: None, options, prepare, configured, guards, mistakes }
    }
}

impl<E> fmt::Debug for EndpointConfig<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointConfig({} {})", self.about.path, self.about)
    }
}
