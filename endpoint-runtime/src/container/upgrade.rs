//! Manual upgrade of one request, from any HTTP server.

use std::any::type_name;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::endpoint_config::EndpointConfig;
use super::logged_request::LoggedRequest;
use super::mounted::{Mounted, Mounting, Table, undeployable};
use super::registration::ServerEndpoint;
use super::service::ServerContainer;
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::Transport;

impl ServerContainer {
    /// Answers one request for the annotated endpoint `E`, whatever its path: for code that routes itself, such as an
    /// axum handler (Jakarta's `upgradeHttpToWebSocket`). `params` replace the variables of the endpoint's path.
    ///
    /// Nothing is mounted. If `E` is also mounted, both share its constructor, its configurator and its open sessions.
    /// An invalid handshake is refused as on a mounted path: 426, 400, 403.
    ///
    /// ```
    /// # use endpoint_runtime::prelude::*;
    /// # #[server_endpoint("/chat/{room}")] #[derive(Default)] struct Chat;
    /// # type Answer = http::Response<http_body_util::Full<Bytes>>;
    /// async fn chat<B>(container: &ServerContainer, request: http::Request<B>) -> Answer {
    ///     container.upgrade::<Chat, _>(request, [("room", "lobby")]).await
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// If the future is dropped, no session opens.
    pub async fn upgrade<E: ServerEndpoint, B>(
        &self,
        request: Request<B>,
        params: impl IntoIterator<Item = (impl Into<Box<str>>, impl Into<Box<str>>)>,
    ) -> Response<Full<Bytes>> {
        let params = params.into_iter().collect();
        self.answer_by_hand(self.annotated::<E>(), type_name::<E>(), request, params).await
    }

    /// Answers one request for an endpoint without annotations. All sessions opened in this way with the same type and
    /// the same path in `config` share one set of open sessions.
    pub async fn upgrade_with<E: Endpoint, B>(
        &self,
        request: Request<B>,
        params: impl IntoIterator<Item = (impl Into<Box<str>>, impl Into<Box<str>>)>,
        config: EndpointConfig<E>,
    ) -> Response<Full<Bytes>> {
        let params = params.into_iter().collect();
        self.answer_by_hand(self.with_config(config), type_name::<E>(), request, params).await
    }

    /// The annotated endpoint `E`, mounted or not.
    pub(super) fn annotated<E: ServerEndpoint>(&self) -> Result<Arc<Mounted>, Error> {
        let registration = const { &E::REGISTRATION };
        let id = Some((registration.type_id)());
        let same = |table: &Table| {
            let unmounted = table.by_hand.iter().chain(table.mounted());
            unmounted.into_iter().find(|mounted| mounted.type_id() == id).cloned()
        };
        match same(&self.0.table()) {
            Some(mounted) => Ok(mounted),
            None => self.by_hand(registration.into(), same),
        }
    }

    /// The endpoint of `config`.
    pub(super) fn with_config<E: Endpoint>(&self, config: EndpointConfig<E>) -> Result<Arc<Mounted>, Error> {
        let mounting = Mounting::from(config);
        let (name, path) = (mounting.about.name, mounting.about.path.clone());
        let same =
            |table: &Table| table.by_hand.iter().find(|it| it.about.name == name && it.about.path == path).cloned();
        match same(&self.0.table()) {
            // the constructor of `config`, the existing set of sessions
            Some(mounted) => self.0.ground.again(mounting, &mounted).map(Arc::new),
            None => self.by_hand(mounting, same),
        }
    }

    /// Prepares an endpoint without mounting it.
    fn by_hand(
        &self,
        mounting: Mounting,
        same: impl Fn(&Table) -> Option<Arc<Mounted>>,
    ) -> Result<Arc<Mounted>, Error> {
        let mut mistakes = Vec::new();
        let mounted = self.0.ground.mount(mounting, &mut mistakes).ok_or_else(|| undeployable(mistakes))?;
        mounted.sessions.belongs_to(self.weak());
        let mounted = Arc::new(mounted);
        self.0
            .change(|table| {
                // another task may have added the endpoint meanwhile
                let first = same(table).unwrap_or_else(|| mounted.clone());
                if Arc::ptr_eq(&first, &mounted) {
                    table.by_hand.push(first.clone());
                }
                Ok(first)
            })
            .inspect(|first| {
                if Arc::ptr_eq(first, &mounted) {
                    first.log_warning();
                }
            })
    }

    async fn answer_by_hand<B>(
        &self,
        mounted: Result<Arc<Mounted>, Error>,
        name: &str,
        request: Request<B>,
        params: PathParams,
    ) -> Response<Full<Bytes>> {
        let (mut parts, _) = request.into_parts();
        let mounted = match mounted {
            Ok(mounted) => mounted,
            Err(error) => {
                if let Some(not_logged) = self.0.log.by_hand.due() {
                    tracing::error!(endpoint = name, %error, not_logged, "cannot upgrade the request");
                }
                let transport = self.0.client(&mut parts, Transport::default());
                let request = LoggedRequest::of_parts(&parts, transport);
                return self.0.refuse(request, Refusal::construction_failed(&error));
            }
        };
        match self.0.answer_traced(&mounted, params, parts, Transport::default()).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
