//! The URI and the parts of an opening request, as the application sets them.

use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Method, Request};

use super::uri::{Target, Values};
use crate::config::EndpointOptions;
use crate::error::{Error, Kind};
use crate::handshake::client::Offer;

/// An opening request before its URI is parsed.
#[derive(Debug)]
pub(super) struct OpeningRequest {
    pub(super) uri: String,
    pub(super) values: Values,
    pub(super) headers: HeaderMap,
    pub(super) subprotocols: Vec<String>,
    pub(super) timeout: Duration,
    /// The first invalid value that was given.
    mistake: Option<String>,
}

impl OpeningRequest {
    pub(super) fn new(uri: String, timeout: Duration) -> Self {
        let (values, headers, subprotocols) = <_>::default();
        Self { uri, values, headers, subprotocols, timeout, mistake: None }
    }

    /// Notes an invalid value; the first is reported when the request is made.
    pub(super) fn wrong(&mut self, mistake: String) {
        self.mistake.get_or_insert(mistake);
    }

    /// The subprotocols to offer: those of this request, else those of the endpoint.
    pub(super) fn offered(&self, options: &EndpointOptions) -> Vec<String> {
        if self.subprotocols.is_empty() {
            return options.subprotocols.iter().map(|&name| name.to_owned()).collect();
        }
        self.subprotocols.clone()
    }

    /// Builds the head of the request.
    pub(super) fn head(&self, target: &Target, offer: &Offer) -> Result<http::request::Parts, Error> {
        if let Some(mistake) = &self.mistake {
            return Err(Error::new(Kind::Handshake, format!("invalid request: {mistake}")));
        }
        let (mut head, ()) = Request::new(()).into_parts();
        (head.method, head.uri) = (Method::GET, target.resource.clone());
        head.headers.insert(header::HOST, target.authority.clone());
        offer.write(&mut head.headers);
        if let Some(authorization) = &target.authorization {
            head.headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        for name in self.headers.keys() {
            head.headers.remove(name);
            for value in self.headers.get_all(name) {
                head.headers.append(name, value.clone());
            }
        }
        Ok(head)
    }
}
