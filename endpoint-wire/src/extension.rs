//! The negotiated extension of a session, with its parameters.

use std::fmt;

use crate::role::Role;

/// An extension in use on a session, as named in the handshake's response (RFC 6455 §9, Jakarta's `Extension`).
///
/// The only supported extension is `permessage-deflate` (RFC 7692). `Display` prints the value of the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// In their order on the wire, unused slots last.
    parameters: [Option<Parameter>; 4],
}

/// A parameter of the handshake's response (RFC 7692 §7.1). The numbers are from 8 to 15.
///
/// Exhaustive: the RFC defines these four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `server_no_context_takeover` (§7.1.1.1).
    ServerNoContextTakeover,
    /// `client_no_context_takeover` (§7.1.1.2).
    ClientNoContextTakeover,
    /// `server_max_window_bits` (§7.1.2.1).
    ServerMaxWindowBits(u8),
    /// `client_max_window_bits` (§7.1.2.2).
    ClientMaxWindowBits(u8),
}

/// Registered name of permessage-deflate (RFC 7692 §9.1).
pub const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// Default window as a power of two: 32 KiB (RFC 7692 §7.1.2).
pub const MAX_WINDOW_BITS: u8 = 15;

impl Extension {
    /// permessage-deflate with these parameters, at most one of each kind.
    pub fn permessage_deflate(parameters: impl IntoIterator<Item = Parameter>) -> Self {
        let mut places = [None; 4];
        places.iter_mut().zip(parameters).for_each(|(place, parameter)| *place = Some(parameter));
        Self { parameters: places }
    }

    /// The registered name.
    pub fn name(&self) -> &'static str {
        PERMESSAGE_DEFLATE
    }

    /// Name and value of each agreed parameter, in the order of the response.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        self.agreed().map(Parameter::spelled)
    }

    /// Whether a side compresses each message independently of those before it.
    pub(crate) fn no_context_takeover(&self, role: Role) -> bool {
        let wanted = match role {
            Role::Server => Parameter::ServerNoContextTakeover,
            Role::Client => Parameter::ClientNoContextTakeover,
        };
        self.agreed().any(|parameter| parameter == wanted)
    }

    /// The largest window that a side may compress with, as a power of two.
    pub(crate) fn window_bits(&self, role: Role) -> u8 {
        let bits = self.agreed().find_map(|parameter| match (role, parameter) {
            (Role::Server, Parameter::ServerMaxWindowBits(bits)) => Some(bits),
            (Role::Client, Parameter::ClientMaxWindowBits(bits)) => Some(bits),
            _ => None,
        });
        bits.unwrap_or(MAX_WINDOW_BITS)
    }

    fn agreed(&self) -> impl Iterator<Item = Parameter> {
        self.parameters.into_iter().flatten()
    }
}

impl Parameter {
    fn spelled(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::ServerNoContextTakeover => ("server_no_context_takeover", None),
            Self::ClientNoContextTakeover => ("client_no_context_takeover", None),
            Self::ServerMaxWindowBits(bits) => ("server_max_window_bits", Some(digits(bits))),
            Self::ClientMaxWindowBits(bits) => ("client_max_window_bits", Some(digits(bits))),
        }
    }
}

fn digits(bits: u8) -> &'static str {
    const DIGITS: [&str; 8] = ["8", "9", "10", "11", "12", "13", "14", "15"];
    DIGITS[usize::from(bits.clamp(8, MAX_WINDOW_BITS) - 8)]
}

/// Prints the header's value, such as `permessage-deflate; server_no_context_takeover`.
impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.parameters().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, "; {name}={value}"),
            None => write!(f, "; {name}"),
        })
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small_and_is_spelled_as_the_header_has_it() {
        assert_eq!(size_of::<Extension>(), 8);
        let none = Extension::permessage_deflate([]);
        assert_eq!((none.to_string().as_str(), none.parameters().count()), ("permessage-deflate", 0));
        for role in [Role::Server, Role::Client] {
            assert_eq!((none.no_context_takeover(role), none.window_bits(role)), (false, 15));
        }
        let all = Extension::permessage_deflate([
            Parameter::ClientMaxWindowBits(8),
            Parameter::ServerNoContextTakeover,
            Parameter::ServerMaxWindowBits(10),
            Parameter::ClientNoContextTakeover,
        ]);
        assert_eq!(
            all.to_string(),
            "permessage-deflate; client_max_window_bits=8; server_no_context_takeover; server_max_window_bits=10; \
             client_no_context_takeover"
        );
        assert_eq!(all.parameters().next(), Some(("client_max_window_bits", Some("8"))));
        assert_eq!((all.no_context_takeover(Role::Server), all.window_bits(Role::Server)), (true, 10));
        assert_eq!((all.no_context_takeover(Role::Client), all.window_bits(Role::Client)), (true, 8));
    }
}
