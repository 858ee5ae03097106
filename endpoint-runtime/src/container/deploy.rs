//! Mounting and removing of endpoints while the container serves.

use std::sync::Arc;

use super::endpoint_config::EndpointConfig;
use super::mounted::{Mounting, undeployable};
use super::registration::ServerEndpoint;
use super::service::ServerContainer;
use crate::endpoint::programmatic::Endpoint;
use crate::error::{Error, Kind};

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
        mounted.log();
        Ok(())
    }
}
