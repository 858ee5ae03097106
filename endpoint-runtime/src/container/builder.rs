//! The builder of a container: what it mounts, with which settings.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::client_options::client_setters;
use super::endpoint_config::EndpointConfig;
use super::erased_configurator::Configured;
use super::guard_setters::guard_setters;
use super::mounted::{Deployment, Mounted, Mounting, Table, undeployable};
use super::observe_options::observe_setters;
use super::options::{RequestSettings, SessionSettings, request_setters, session_setters};
use super::registration::{Registration, ServerEndpoint, prepare_each, prepare_shared};
use super::service::{Inner, ServerContainer};
use crate::cluster::Cluster;
use crate::container::configurator::Configurator;
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::path::ContextPath;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::limits::sessions::SessionCounts;
use crate::observe::counters::ConnectionCounters;
use crate::observe::log_rate::HandshakeLog;
use crate::observe::statuses::HandshakeCounters;
use crate::session::EndpointInfo;
use endpoint_wire::budget::{Budget, Budgets};

impl ServerContainer {
    /// Starts building an empty container.
    pub fn builder() -> ContainerBuilder {
        ContainerBuilder::default()
    }
}

/// Decides which endpoints are mounted.
type Keep = Box<dyn Fn(&EndpointInfo<'_>) -> bool>;

/// Builder of a [`ServerContainer`]; [`build`](ContainerBuilder::build) reports all configuration errors together.
#[derive(Default)]
#[must_use]
pub struct ContainerBuilder {
    endpoints: Vec<Mounting>,
    only: Vec<Keep>,
    sessions: SessionSettings,
    requests: RequestSettings,
}

session_setters!(ContainerBuilder);
request_setters!(ContainerBuilder);
client_setters!(ContainerBuilder);
observe_setters!(ContainerBuilder);
guard_setters!(ContainerBuilder);

impl ContainerBuilder {
    pub(crate) fn session_settings(&mut self) -> &mut SessionSettings {
        &mut self.sessions
    }

    pub(crate) fn request_settings(&mut self) -> &mut RequestSettings {
        &mut self.requests
    }

    /// Mounts every type annotated with `#[server_endpoint]` that is linked into the program.
    ///
    /// Endpoints in a crate that no code references are not linked: write `use that_crate as _;`, or
    /// [`register`](Self::register) them. `build` logs the endpoints found.
    pub fn discover(mut self) -> Self {
        self.endpoints.extend(inventory::iter::<Registration>().map(Mounting::from));
        self
    }

    /// Mounts `E`. Mounting it twice, or in addition to [`discover`](Self::discover), is harmless.
    pub fn register<E: ServerEndpoint>(mut self) -> Self {
        self.endpoints.push((const { &E::REGISTRATION }).into());
        self
    }

    /// Mounts `E` with a custom constructor, which is called for each connection with the opening request, before the
    /// handshake is answered, and may refuse the handshake. The request shows the container's
    /// [states](HandshakeRequest::state) and its [extensions](HandshakeRequest::extensions). A panic in the constructor
    /// refuses with 500.
    pub fn endpoint_with<E: ServerEndpoint>(
        mut self,
        construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let prepare = Some(prepare_each(construct));
        self.endpoints.push(Mounting { prepare, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts `E`, annotated with `instance = shared`, with one instance for all connections.
    pub fn endpoint_shared<E: ServerEndpoint>(mut self, instance: E) -> Self {
        let prepare = Some(prepare_shared(instance));
        self.endpoints.push(Mounting { prepare, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts an endpoint without annotations at `path`; `construct` is called for each connection.
    #[track_caller]
    pub fn add_endpoint<E: Endpoint>(
        self,
        path: impl Into<String>,
        construct: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        self.add_endpoint_config(EndpointConfig::new(path, construct))
    }

    /// Mounts an endpoint without annotations, with its own settings.
    pub fn add_endpoint_config<E: Endpoint>(mut self, config: EndpointConfig<E>) -> Self {
        self.endpoints.push(config.into());
        self
    }

    /// Mounts `E` with a configurator, which overrides the one that the annotation names.
    pub fn endpoint_with_configurator<E: ServerEndpoint>(mut self, configurator: impl Configurator<E>) -> Self {
        let configured = Some(Configured::new::<E>(configurator));
        self.endpoints.push(Mounting { configured, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts only the endpoints for which `keep` returns true; `keep` sees their paths without the context path. After
    /// several calls, those that all of them keep.
    pub fn only(mut self, keep: impl Fn(&EndpointInfo<'_>) -> bool + 'static) -> Self {
        self.only.push(Box::new(keep));
        self
    }

    /// Checks the configuration and builds the container. Logs each endpoint with its handlers, and warns about each
    /// endpoint without a message handler.
    ///
    /// # Errors
    /// [`Error::is_deployment`] with all mistakes in one text: equal or equivalent paths with both source locations,
    /// types that cannot be constructed, a call that contradicts an earlier one, a `State<T>` that a handler takes and
    /// that is not provided, a malformed context path, host, origin or proxy, a compression level or window out of range.
    /// Nothing is mounted in this case (Jakarta WSC-5.2.1-3).
    pub fn build(self) -> Result<ServerContainer, Error> {
        self.assemble().inspect(ServerContainer::log_deployment)
    }

    /// Builds the container without a line in the log: a server logs what is mounted once its port is bound.
    pub(crate) fn assemble(self) -> Result<ServerContainer, Error> {
        let Self { endpoints, only, sessions, mut requests } = self;
        let mut mistakes = sessions.mistakes;
        let context_path = requests.context_path.take().unwrap_or_default();
        let context = ContextPath::parse(&context_path).unwrap_or_else(|error| {
            mistakes.push(error.to_string());
            // conflicts between the endpoints do not depend on the context path
            ContextPath::default()
        });
        let hosts = requests.hosts().map_err(|error| mistakes.push(error.to_string())).ok();
        let origins = requests.origins().map_err(|error| mistakes.push(error.to_string())).ok();
        let proxies = requests.clients.proxies(&mut mistakes);
        let ipv6_prefix = requests.clients.ipv6_prefix;
        let ground = Deployment {
            context_path,
            context,
            trailing_slash: requests.trailing_slash,
            limits: sessions.limits,
            hooks: requests.hooks,
            guards: requests.guards,
            states: Arc::new(sessions.states),
            groups: Arc::default(),
            budgets: Arc::new(Budgets::new(sessions.receive_budget, sessions.send_budget)),
            counts: SessionCounts::new(requests.clients.caps, ipv6_prefix),
            ipv6_prefix,
            observing: requests.observing.clone(),
        };
        let mut mounted = Vec::new();
        for mounting in Mounting::together(endpoints) {
            if only.iter().all(|keep| keep(&mounting.info())) {
                mounted.extend(ground.mount(mounting, &mut mistakes).map(Arc::new));
            }
        }
        let with_history: Vec<_> =
            mounted.iter().filter(|mounted| mounted.options.history.is_some()).cloned().collect();
        let router = ground.router(mounted).map_err(|conflicts| mistakes.extend(conflicts)).ok();
        let cluster = requests.cluster.take();
        if let Some(cluster) = &cluster {
            mistakes.extend(mistakes_of(cluster, &with_history));
        }
        let (Some(router), Some(hosts), Some(origins), true) = (router, hosts, origins, mistakes.is_empty()) else {
            return Err(undeployable(mistakes));
        };
        let table = Table { router: Arc::new(router), by_hand: Vec::new(), others: Vec::new() };
        let container = ServerContainer(Arc::new(Inner {
            ground,
            table: RwLock::new(Arc::new(table)),
            hosts,
            origins,
            proxies,
            head_limits: requests.head_limits,
            compression_budget: Arc::new(Budget::new(sessions.compression_budget)),
            handshake_timeout: requests.handshake_timeout,
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
            drain: <_>::default(),
            log: HandshakeLog::default(),
            connections: ConnectionCounters::default(),
            handshakes: HandshakeCounters::default(),
            built: Instant::now(),
        }));
        for mounted in container.0.table().mounted() {
            mounted.sessions.belongs_to(container.weak());
        }
        if let Some(cluster) = cluster {
            container.join_cluster(cluster);
        }
        Ok(container)
    }
}

/// What keeps a container from being a node of this cluster.
fn mistakes_of(cluster: &Cluster, with_history: &[Arc<Mounted>]) -> Vec<String> {
    let mut mistakes = Vec::new();
    if Handle::try_current().is_err() {
        mistakes.push("a container with a cluster must be built inside a tokio runtime".to_owned());
    }
    if cluster.has_empty_key {
        mistakes.push("the key of the cluster is empty: give all nodes the same secret, or none".to_owned());
    }
    if !cluster.engine.keeps_history() {
        let engine = cluster.engine.name();
        mistakes.extend(with_history.iter().map(|mounted| {
            let about = &mounted.about;
            format!("{about}: {engine} keeps no history: remove `history`, or take an engine that keeps one")
        }));
    }
    mistakes
}

impl fmt::Debug for ContainerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.endpoints.iter().map(Mounting::info).collect();
        f.debug_struct("ContainerBuilder").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}
