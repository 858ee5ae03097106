//! Logins with JSON Web Tokens (RFC 7519).

use std::time::{Duration, SystemTime};

use endpoint_runtime::prelude::*;
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
    /// Seconds since 1970.
    exp: u64,
}

impl Login {
    pub fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self { key: DecodingKey::from_secret(secret.as_bytes()), validation }
    }
}

impl HandshakeHook for Login {
    async fn handshake(&self, request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        let header = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let query = request.query_param("access_token");
        let token = header.or(query.as_deref()).ok_or_else(Refusal::unauthenticated)?;
        let token = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Refusal::unauthenticated()
        })?;
        let Claims { sub: name, exp } = token.claims;
        let expires_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp));
        response.set_principal(User { name, expires_at: expires_at.ok_or_else(Refusal::unauthenticated)? });
        Ok(())
    }
}
