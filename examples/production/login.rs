//! Logins with JSON Web Tokens (RFC 7519).

use std::time::{Duration, SystemTime};

use endpoint_runtime::prelude::*;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

/// Admits only requests with a valid token. Browsers cannot set headers, so the token may also be in the query.
pub struct Login {
    key: DecodingKey,
    validation: Validation,
}

/// The user that a token names.
struct User {
    name: String,
    expires_at: SystemTime,
}

impl Principal for User {
    fn name(&self) -> &str {
        &self.name
    }

    // the session ends with the token
    fn expires_at(&self) -> Option<SystemTime> {
        Some(self.expires_at)
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970, perhaps with a fraction.
    exp: f64,
}

impl Login {
    pub fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        Self { key: DecodingKey::from_secret(secret.as_bytes()), validation }
    }
}

impl HandshakeHook for Login {
    async fn handshake(&self, request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        let header = request.header("authorization").and_then(bearer);
        let query = request.query_param("access_token");
        let token = header.or(query.as_deref()).ok_or_else(unauthenticated)?;
        let token = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            unauthenticated()
        })?;
        let Claims { sub: name, exp } = token.claims;
        let lives = Duration::try_from_secs_f64(exp).map_err(|_| unauthenticated())?;
        let expires_at = SystemTime::UNIX_EPOCH.checked_add(lives).ok_or_else(unauthenticated)?;
        response.set_principal(User { name, expires_at });
        Ok(())
    }
}

/// The token of an `Authorization` header; the name of the scheme has no case (RFC 9110 §11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

/// 401, with the scheme that is asked for (RFC 6750 §3).
fn unauthenticated() -> Refusal {
    Refusal::unauthenticated().with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
