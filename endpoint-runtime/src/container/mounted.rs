//! The mounted endpoints with their paths, options and sessions, and the table to find them.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

use super::client_options::mistakes_of;
use super::erased_configurator::Configured;
use super::guards::{GuardSettings, Guards};
use super::handshake_hook::Hooks;
use super::registration::{Registration, no_constructor};
use super::serving::Prepare;
use crate::config::{EndpointOptions, Limits};
use crate::error::{Error, Kind};
use crate::handshake::path::{ContextPath, Template};
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::handshake::router::{Router, TrailingSlash};
use crate::limits::sessions::{SessionCaps, SessionCounts};
use crate::observe::observing::{ObserveSettings, Observing};
use crate::session::state::States;
use crate::session::{EndpointInfo, Groups, OpenSet};
use endpoint_wire::budget::Budgets;

/// An endpoint mounted at its path.
pub(super) struct Mounted {
    pub(super) about: About,
    template: Template,
    /// `None` for an endpoint without annotations.
    registration: Option<&'static Registration>,
    pub(super) options: EndpointOptions,
    pub(super) prepare: Prepare,
    /// `None` if there is neither a configurator nor a handshake hook.
    pub(super) configured: Option<Configured>,
    /// Whether code of the application sees the request of a handshake.
    pub(super) shows_request: bool,
    pub(super) guards: Guards,
    pub(super) sessions: Arc<OpenSet>,
    /// The sessions that count for the endpoint's own caps.
    pub(super) counts: Option<Arc<SessionCounts>>,
}

impl Mounted {
    /// Checks the parameters of the path and of the query that the handlers take.
    pub(super) fn check_params(&self, request: &HandshakeRequest) -> Result<(), Refusal> {
        let Some(registration) = self.registration else { return Ok(()) };
        let handlers = registration.handlers();
        handlers.check_path(request.path_params()).map_err(|error| Refusal::bad_path_parameter(&error))?;
        handlers.check_query(request).map_err(|error| Refusal::bad_query_parameter(&error))
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

    /// The kinds of events that have handlers; `None` for an endpoint without annotations.
    pub(super) fn handler_names(&self) -> Option<Vec<&'static str>> {
        self.registration.map(|registration| registration.handlers().names().collect())
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
    /// Interceptors and a rate that were given in code.
    pub(super) guards: GuardSettings,
    /// Settings that contradict each other.
    pub(super) mistakes: Vec<String>,
}

impl From<&'static Registration> for Mounting {
    fn from(registration: &'static Registration) -> Self {
        let Registration { path, name, file, line, options, .. } = *registration;
        let about = About { path: path.into(), name, file, line };
        let (prepare, configured, guards, mistakes) = <_>::default();
        Self { about, registration: Some(registration), options, prepare, configured, guards, mistakes }
    }
}

impl Mounting {
    pub(super) fn info(&self) -> EndpointInfo<'_> {
        let About { path, name, file, line } = &self.about;
        EndpointInfo { path: Cow::Borrowed(path), name, file, line: *line }
    }

    /// Merges the mountings of one annotated type. A second constructor or configurator is a mistake.
    pub(super) fn together(all: Vec<Self>) -> Vec<Self> {
        let mut kept: Vec<Self> = Vec::new();
        for mounting in all {
            let id = |it: &Self| it.registration.map(|registration| (registration.type_id)());
            let same = kept.iter_mut().find(|earlier| id(earlier).is_some() && id(earlier) == id(&mounting));
            match same {
                Some(earlier) => {
                    if mounting.prepare.is_some() && earlier.prepare.is_some() {
                        let two = "it has two constructors: keep one of `endpoint_with` and `endpoint_shared`";
                        earlier.mistakes.push(two.to_owned());
                    }
                    if mounting.configured.is_some() && earlier.configured.is_some() {
                        let two = "it has two configurators: keep one `endpoint_with_configurator`";
                        earlier.mistakes.push(two.to_owned());
                    }
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
    pub(super) hooks: Hooks,
    pub(super) guards: GuardSettings,
    pub(super) states: Arc<States>,
    pub(super) groups: Arc<Groups>,
    pub(super) budgets: Arc<Budgets>,
    /// The sessions that count for the caps of the container.
    pub(super) counts: Option<Arc<SessionCounts>>,
    /// How many bits of an IPv6 address count as one client.
    pub(super) ipv6_prefix: u8,
    pub(super) observing: ObserveSettings,
}

impl Deployment {
    /// Prepares an endpoint for mounting, or adds all its configuration errors to `mistakes`.
    pub(super) fn mount(&self, mounting: Mounting, mistakes: &mut Vec<String>) -> Option<Mounted> {
        let Mounting { about, registration, options, prepare, configured, guards, mistakes: own } = mounting;
        let found = mistakes.len();
        mistakes.extend(own.into_iter().map(|mistake| format!("{about}: {mistake}")));
        let configured = configured.or_else(|| registration?.configured.map(|configured| configured()));
        let constructs = prepare.is_some() && registration.is_some();
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
        let configured = configured.or_else(|| (!self.hooks.is_empty()).then(Configured::defaults));
        let template = Template::parse(&about.path).map_err(|error| mistakes.push(format!("{about}: {error}"))).ok();
        let limits = self.limits.with(&options);
        mistakes.extend(limits.compression.mistake().map(|mistake| format!("{about}: {mistake}")));
        let missing = registration.into_iter().flat_map(|registration| registration.handlers().missing(&self.states));
        mistakes.extend(missing.map(|wanted| format!("{about}: {}", self.states.missing(wanted))));
        let full = format!("{}{}", self.context_path.trim_end_matches('/'), about.path);
        let (states, groups, budgets) = (self.states.clone(), self.groups.clone(), self.budgets.clone());
        let observing = Observing::of(&self.observing, &full);
        let logged = observing.as_ref().and_then(|observing| observing.traffic.clone());
        let sessions = OpenSet::new(full, about.name, limits).with(states, groups, budgets).logged(logged);
        let sessions = sessions.defined_at(about.file, about.line);
        let annotated = registration.map(|registration| registration.handlers().message_kinds()).unwrap_or_default();
        let hears = registration.is_some_and(|registration| registration.handlers().hears_presence());
        let shared = registration.map_or(&[][..], |registration| registration.shared);
        self.groups.share(shared);
        let guards = self.guards.of(registration.map(Registration::guards).unwrap_or_default(), guards, observing);
        let sessions = Arc::new(sessions.annotated(annotated).hears_presence(hears).sharing(shared));
        let (per_address, per_principal) = options.max_sessions_per.unwrap_or_default();
        let caps = SessionCaps { total: options.max_sessions, per_address, per_principal };
        let names = ["max_sessions", "max_sessions_per(address)", "max_sessions_per(principal)"];
        mistakes.extend(mistakes_of(&caps, names).map(|mistake| format!("{about}: {mistake}")));
        let (template, prepare) = template.zip(prepare)?;
        (mistakes.len() == found).then_some(Mounted {
            about,
            template,
            registration,
            options,
            prepare,
            shows_request: constructs || configured.is_some(),
            configured,
            guards,
            sessions,
            counts: SessionCounts::new(caps, self.ipv6_prefix),
        })
    }

    /// The endpoint of `earlier` with another constructor; both share one set of open sessions and its caps.
    pub(super) fn again(&self, mounting: Mounting, earlier: &Mounted) -> Result<Mounted, Error> {
        let mut mistakes = Vec::new();
        let mounted = self.mount(mounting, &mut mistakes).ok_or_else(|| undeployable(mistakes))?;
        Ok(Mounted {
            sessions: earlier.sessions.clone(),
            counts: earlier.counts.clone(),
            guards: earlier.guards.clone(),
            ..mounted
        })
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

pub(super) fn undeployable(mistakes: Vec<String>) -> Error {
    Error::new(Kind::Deploy, format!("cannot deploy the endpoints: {}", mistakes.join("; ")))
}
