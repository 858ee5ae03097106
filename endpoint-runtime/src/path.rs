//! Path templates (`/chat/{room}`) and the values their variables took.
//!
//! Jakarta WebSocket §3.1.1: level-1 URI templates whose variables replace whole segments.

use std::str::FromStr;

use crate::error::{BoxError, Error};

/// A type that a path variable can be turned into: every `FromStr` whose error can be boxed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a `#[path_param]`",
    label = "not parsable from a path segment",
    note = "a path parameter's type implements FromStr, with an error that converts into a boxed error; Option<T> of such a type is allowed as well"
)]
pub trait PathParam: Sized {
    /// Parses the decoded segment.
    fn parse_segment(segment: &str) -> Result<Self, BoxError>;
}

impl<T> PathParam for T
where
    T: FromStr,
    T::Err: Into<BoxError>,
{
    fn parse_segment(segment: &str) -> Result<Self, BoxError> {
        segment.parse().map_err(Into::into)
    }
}

/// The variables of a matched template with their percent-decoded values, in the template's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathParams(Box<[(Box<str>, Box<str>)]>);

impl PathParams {
    /// The value of the variable `name`, percent-decoded, or `None` if the template has no such variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    /// Name and value of each variable, in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of `name` as a `T`.
    ///
    /// # Errors
    /// [`Error::is_decode`] if there is no such variable or its value does not parse.
    pub fn parse<T: PathParam>(&self, name: &str) -> Result<T, Error> {
        let value = self
            .get(name)
            .ok_or_else(|| Error::decode(format!("the path has no parameter {name:?}"), "no such path parameter"))?;
        T::parse_segment(value).map_err(|error| {
            Error::decode(
                format!("the path parameter {name:?} with the value {value:?} is not of type {}", std::any::type_name::<T>()),
                error,
            )
        })
    }

    /// As [`parse`](Self::parse), but `None` if there is no such variable.
    ///
    /// # Errors
    /// [`Error::is_decode`] if the variable's value does not parse.
    pub fn parse_optional<T: PathParam>(&self, name: &str) -> Result<Option<T>, Error> {
        if self.get(name).is_some() { self.parse(name).map(Some) } else { Ok(None) }
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for PathParams {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Whether `template` has the variable `name`: for the compile-time check of `#[path_param("name")]`.
pub const fn template_has(template: &str, name: &str) -> bool {
    let (template, name) = (template.as_bytes(), name.as_bytes());
    let mut start = 0;
    while start < template.len() {
        if template[start] == b'{' && start + name.len() + 1 < template.len() {
            let mut i = 0;
            while i < name.len() && template[start + 1 + i] == name[i] {
                i += 1;
            }
            if i == name.len() && template[start + 1 + i] == b'}' {
                return true;
            }
        }
        start += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_knows_its_variables() {
        assert!(template_has("/chat/{room}", "room"));
        assert!(template_has("/{a}/x/{bc}", "bc"));
        assert!(!template_has("/chat/{room}", "roo"));
        assert!(!template_has("/chat/{room}", "room2"));
        assert!(!template_has("/chat/room", "room"));
        assert!(!template_has("/chat/{room", "room"));
    }

    #[test]
    fn values_parse_or_say_what_is_wrong() {
        let params: PathParams = [("id", "7"), ("name", "x")].into_iter().collect();
        assert_eq!(params.parse::<u64>("id").unwrap(), 7);
        assert_eq!(params.parse_optional::<u64>("none").unwrap(), None);
        let error = params.parse::<u64>("name").unwrap_err();
        assert!(error.is_decode());
        assert_eq!(error.to_string(), r#"the path parameter "name" with the value "x" is not of type u64"#);
    }
}
