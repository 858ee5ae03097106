//! Mounting of endpoints at their paths, when the container is built and while it serves.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::{EndpointInfo, Inner, ServerContainer};
use crate::config::{Compression, EndpointOptions, Limits};
use crate::container::configurator::Configurator;
use crate::container::registration::{
    Configured, Prepare, Registration, ServerEndpoint, no_constructor, prepare_programmatic,
};
use crate::endpoint::programmatic::Endpoint;
use crate::error::{Error, Kind};
use crate::handshake::path::{ContextPath, PathParams, Template};
use crate::handshake::request::HandshakeRequest;
use crate::handshake::router::{Router, TrailingSlash};
use crate::session::state::{StateRequirement, States};
use crate::session::{Groups, OpenSet};
use endpoint_wire::budget::Budgets;

/// An endpoint mounted at its path.
pub(super) struct Mounted {
    pub(super) about: About,
    template: Template,
    /// `None` for an endpoint without annotations.
    registration: Option<&'static Registration>,
    pub(super) options: EndpointOptions,
    pub(super) prepare: Prepare,
    pub(super) configured: Option<Configured>,
    pub(super) sessions: Arc<OpenSet>,
}

impl Mounted {
    pub(super) fn check_path(&self, params: &PathParams) -> Result<(), Error> {
        self.registration.map_or(Ok(()), |registration| registration.handlers().check_path(params))
    }

    pub(super) fn check_query(&self, request: &HandshakeRequest) -> Result<(), Error> {
        self.registration.map_or(Ok(()), |registration| registration.handlers().check_query(request))
    }

    /// The first requirement of the endpoint that a transport of whole messages cannot meet.
    #[cfg(feature = "adopted")]
    pub(super) fn unsupported_option(&self) -> Option<String> {
        if let Some((kind, how)) = self.registration.and_then(|registration| registration.handlers().in_parts()) {
            return Some(format!("its `#[on_message]` for {kind} takes messages {how}"));
        }
        let compresses = self.options.compression.is_some_and(|compression| compression.is_on());
        compresses.then(|| "it enables compression, which the library that accepts the socket negotiates".to_owned())
    }

    /// The annotated type; `None` for an endpoint without annotations.
    pub(super) fn type_id(&self) -> Option<TypeId> {
        self.registration.map(|registration| (registration.type_id)())
    }
}

/// Path, type and source location of an endpoint.
#[derive(Clone)]
pub(super) struct About {
    pub(super) path: Cow<'static, str>,
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) line: u32,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.name, self.file, self.line)
    }
}

/// An endpoint to mount, with the settings given so far.
pub(super) struct Mounting {
    pub(super) about: About,
    pub(super) registration: Option<&'static Registration>,
    pub(super) options: EndpointOptions,
    pub(super) prepare: Option<Result<Prepare, Error>>,
    pub(super) configured: Option<Configured>,
}

impl From<&'static Registration> for Mounting {
    fn from(registration: &'static Registration) -> Self {
        let Registration { path, name, file, line, options, .. } = *registration;
        let about = About { path: path.into(), name, file, line };
        Self { about, registration: Some(registration), options, prepare: None, configured: None }
    }
}

impl<E: Endpoint> From<EndpointConfig<E>> for Mounting {
    fn from(config: EndpointConfig<E>) -> Self {
        let EndpointConfig { about, options, prepare, configured, .. } = config;
        Self { about, registration: None, options, prepare: Some(Ok(prepare)), configured }
    }
}

impl Mounting {
    pub(super) fn info(&self) -> EndpointInfo<'_> {
        let About { path, name, file, line } = &self.about;
        EndpointInfo { path: Cow::Borrowed(path), name, file, line: *line }
    }

    /// Merges the mountings of one annotated type; for each setting the first wins.
    pub(super) fn together(all: Vec<Self>) -> Vec<Self> {
        let mut kept: Vec<Self> = Vec::new();
        for mounting in all {
            let id = |it: &Self| it.registration.map(|registration| (registration.type_id)());
            let same = kept.iter_mut().find(|earlier| id(earlier).is_some() && id(earlier) == id(&mounting));
            match same {
                Some(earlier) => {
                    earlier.prepare = earlier.prepare.take().or(mounting.prepare);
                    earlier.configured = earlier.configured.take().or(mounting.configured);
                }
                None => kept.push(mounting),
            }
        }
        kept
    }
}

/// Settings and state that all endpoints of a container share.
pub(super) struct Deployment {
    pub(super) context_path: String,
    pub(super) context: ContextPath,
    pub(super) trailing_slash: TrailingSlash,
    pub(super) limits: Limits,
    pub(super) states: Arc<States>,
    pub(super) groups: Arc<Groups>,
    pub(super) budgets: Arc<Budgets>,
}

impl Deployment {
    /// Prepares an endpoint for mounting, or adds all its configuration errors to `mistakes`.
    pub(super) fn mount(&self, mounting: Mounting, mistakes: &mut Vec<String>) -> Option<Mounted> {
        let Mounting { about, registration, options, prepare, configured } = mounting;
        let found = mistakes.len();
        let configured = configured.or_else(|| registration?.configured.map(|configured| configured()));
        let prepare = prepare.or_else(|| registration?.prepare.map(|prepare| prepare()));
        // a configurator may make the instance itself
        let prepare = prepare.or_else(|| configured.is_some().then(|| Ok(Arc::new(no_constructor) as Prepare)));
        let prepare = match prepare {
            Some(Ok(prepare)) => Some(prepare),
            Some(Err(error)) => {
                mistakes.push(format!("{about}: {error}"));
                None
            }
            None => {
                mistakes.push(format!(
                    "{about} does not implement Default: write #[derive(Default)], or mount it with endpoint_with"
                ));
                None
            }
        };
        let template = Template::parse(&about.path).map_err(|error| mistakes.push(format!("{about}: {error}"))).ok();
        let limits = self.limits.with(&options);
        mistakes.extend(limits.compression.mistake().map(|mistake| format!("{about}: {mistake}")));
        let missing = registration.into_iter().flat_map(|registration| registration.handlers().missing(&self.states));
        mistakes.extend(missing.map(|StateRequirement { type_name, method, .. }| {
            format!("{about}: `{method}` takes State<{}>: provide it with .state(…)", type_name())
        }));
        let full = format!("{}{}", self.context_path.trim_end_matches('/'), about.path);
        let (states, groups, budgets) = (self.states.clone(), self.groups.clone(), self.budgets.clone());
        let sessions = OpenSet::new(full, about.name, limits).with(states, groups, budgets);
        let annotated = registration.map(|registration| registration.handlers().message_kinds()).unwrap_or_default();
        let sessions = Arc::new(sessions.annotated(annotated));
        let (template, prepare) = template.zip(prepare)?;
        (mistakes.len() == found).then_some(Mounted {
            about,
            template,
            registration,
            options,
            prepare,
            configured,
            sessions,
        })
    }

    /// The endpoint of `earlier` with another constructor; both share one set of open sessions.
    pub(super) fn again(&self, mounting: Mounting, earlier: &Mounted) -> Result<Mounted, Error> {
        let mut mistakes = Vec::new();
        let mounted = self.mount(mounting, &mut mistakes).ok_or_else(|| undeployable(mistakes))?;
        Ok(Mounted { sessions: earlier.sessions.clone(), ..mounted })
    }

    /// A router of all endpoints; fails with a message for each pair of equal or equivalent paths.
    pub(super) fn router(
        &self,
        mounted: impl IntoIterator<Item = Arc<Mounted>>,
    ) -> Result<Router<Arc<Mounted>>, Vec<String>> {
        let routes = mounted.into_iter().map(|mounted| (mounted.template.clone(), mounted));
        Router::new(&self.context, self.trailing_slash, routes).map_err(|conflicts| {
            let place = |mounted: &Arc<Mounted>| format!("{} {}", mounted.about.path, mounted.about);
            let pair = |[(_, a), (_, b)]: [(&Template, &Arc<Mounted>); 2]| {
                format!("two endpoints have the same path or equivalent templates: {} and {}", place(a), place(b))
            };
            conflicts.pairs().map(pair).collect()
        })
    }
}

/// The endpoints mounted now. A change replaces the whole table.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) router: Arc<Router<Arc<Mounted>>>,
    /// Endpoints that were never mounted, but have sessions, opened by `upgrade` or `adopt`.
    pub(super) by_hand: Vec<Arc<Mounted>>,
    /// The sessions of removed endpoints. The table does not keep these sets alive: open sessions and handshakes in
    /// progress do.
    pub(super) others: Vec<Weak<OpenSet>>,
}

impl Table {
    pub(super) fn mounted(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        self.router.routes().map(|(_, mounted)| mounted)
    }

    /// All sets of sessions: of mounted, unmounted and removed endpoints.
    pub(super) fn sets(&self) -> impl Iterator<Item = Arc<OpenSet>> {
        let all = self.mounted().chain(&self.by_hand).map(|mounted| mounted.sessions.clone());
        all.chain(self.others.iter().filter_map(Weak::upgrade))
    }
}

impl Inner {
    /// The current table of mounted endpoints.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the table with a changed copy; if `change` fails, the table stays.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Table) -> Result<T, Error>) -> Result<T, Error> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Table::clone(&table);
        let result = change(&mut next)?;
        // a set without owners has no sessions, and never will
        next.others.retain(|set| set.strong_count() > 0);
        let before = std::mem::replace(&mut *table, Arc::new(next));
        // the old table may own values of the application, whose destructors must not run under the lock
        drop(table);
        drop(before);
        Ok(result)
    }
}

/// Changes while the container serves.
impl ServerContainer {
    /// Mounts an endpoint without annotations at `path`, below the context path; `construct` is called for each
    /// connection. The endpoint receives requests from now on.
    ///
    /// # Errors
    /// [`Error::is_deployment`]: a malformed path, or a path that is already taken, also by an equivalent template. The
    /// endpoints mounted before stay unchanged.
    #[track_caller]
    pub fn add_endpoint<E: Endpoint>(
        &self,
        path: impl Into<String>,
        construct: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.add_endpoint_config(EndpointConfig::new(path, construct))
    }

    /// Mounts an endpoint without annotations, with its own settings.
    ///
    /// # Errors
    /// As [`add_endpoint`](Self::add_endpoint).
    pub fn add_endpoint_config<E: Endpoint>(&self, config: EndpointConfig<E>) -> Result<(), Error> {
        self.deploy(config.into())
    }

    /// Mounts an annotated endpoint.
    ///
    /// # Errors
    /// As [`add_endpoint`](Self::add_endpoint); also if `E` cannot be constructed, or takes a [`State`](crate::State)
    /// that is not provided.
    pub fn register<E: ServerEndpoint>(&self) -> Result<(), Error> {
        self.deploy((const { &E::REGISTRATION }).into())
    }

    /// Removes the endpoint mounted at `path`, written as when it was mounted; returns whether there was one. New
    /// handshakes get 404; open sessions stay open.
    pub fn remove_endpoint(&self, path: &str) -> bool {
        let ground = &self.0.ground;
        let removed = self.0.change(|table| {
            let gone = table.mounted().find(|mounted| mounted.about.path == path).cloned();
            let gone = gone.ok_or_else(|| Error::new(Kind::Deploy, "no endpoint is mounted at this path"))?;
            let kept: Vec<_> = table.mounted().filter(|mounted| !Arc::ptr_eq(mounted, &gone)).cloned().collect();
            table.router = Arc::new(ground.router(kept).map_err(undeployable)?);
            table.others.push(Arc::downgrade(&gone.sessions));
            Ok(gone)
        });
        if let Ok(mounted) = &removed {
            tracing::info!(path = &*mounted.sessions.path, endpoint = mounted.about.name, "removed");
        }
        removed.is_ok()
    }

    fn deploy(&self, mounting: Mounting) -> Result<(), Error> {
        let ground = &self.0.ground;
        let mut mistakes = Vec::new();
        // the application's code runs before the table is locked
        let mounted = ground.mount(mounting, &mut mistakes).ok_or_else(|| undeployable(mistakes))?;
        mounted.sessions.belongs_to(self.weak());
        let mounted = Arc::new(mounted);
        self.0.change(|table| {
            let all: Vec<_> = table.mounted().cloned().chain([mounted.clone()]).collect();
            table.router = Arc::new(ground.router(all).map_err(undeployable)?);
            Ok(())
        })?;
        log(&mounted);
        Ok(())
    }
}

pub(super) fn undeployable(mistakes: Vec<String>) -> Error {
    Error::new(Kind::Deploy, format!("cannot deploy the endpoints: {}", mistakes.join("; ")))
}

pub(super) fn log(mounted: &Mounted) {
    let About { name, file, line, .. } = mounted.about;
    tracing::info!(path = &*mounted.sessions.path, endpoint = name, "mounted (defined at {file}:{line})");
}

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
            endpoint: PhantomData,
        }
    }

    /// Sets the handshake hooks.
    pub fn configurator(mut self, configurator: impl Configurator<E>) -> Self {
        self.configured = Some(Configured::programmatic(configurator));
        self
    }

    /// The supported subprotocols.
    pub fn subprotocols(mut self, names: &'static [&'static str]) -> Self {
        self.options.subprotocols = names;
        self
    }

    /// Admits only principals with one of these roles.
    pub fn roles(mut self, roles: &'static [&'static str]) -> Self {
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

    /// Compression of messages.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = Some(compression);
        self
    }
}

impl<E> fmt::Debug for EndpointConfig<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointConfig({} {})", self.about.path, self.about)
    }
}
