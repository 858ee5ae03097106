//! Names in NATS: a subject for each subject of the cluster, and one for each history.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use endpoint_runtime::cluster::Subject;

use crate::Error;

/// Longest key of a history in bytes: its subject has to fit into the 4 KiB of a line of the protocol.
const LONGEST_KEY: usize = 2048;

/// Prefix of every subject and of the stream, so that several applications can share an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Arc<str>);

impl Names {
    pub(crate) fn new(prefix: &str) -> Result<Self, Error> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if prefix.is_empty() || !prefix.bytes().all(legal) {
            return Err(Error::new(format!(
                "the prefix {prefix:?} is not valid: use letters, digits, `-` and `_`, at least one of them"
            )));
        }
        Ok(Self(prefix.into()))
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    pub(crate) fn subject(&self, subject: Subject) -> String {
        format!("{}.{subject}", self.0)
    }

    /// The subject on which one link hears itself.
    pub(crate) fn echo(&self, id: &str) -> String {
        format!("{}.echo.{id}", self.0)
    }

    pub(crate) fn stream(&self) -> String {
        format!("{}_history", self.0)
    }

    /// The subjects of all histories.
    pub(crate) fn histories(&self) -> String {
        format!("{}.history.>", self.0)
    }

    /// The subject of a history, if its key is not too long. The letter before the encoded key makes a token of an empty
    /// one.
    pub(crate) fn history(&self, key: &str) -> Option<String> {
        (key.len() <= LONGEST_KEY).then(|| format!("{}.history.k{}", self.0, BASE64URL_NOPAD.encode(key.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use endpoint_runtime::cluster::NodeId;
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new("shop").unwrap()
    }

    #[test]
    fn subject_is_the_prefix_a_dot_and_the_subject() {
        assert_eq!(names().subject(Subject::Nodes), "shop.nodes");
        assert_eq!(names().subject(Subject::Node(NodeId::from_bits(0xAB))), "shop.node.00000000000000ab");
        assert_eq!(names().subject(Subject::Bucket(7)), "shop.bucket.7");
    }

    #[test]
    fn histories_are_in_the_stream() {
        assert_eq!(names().stream(), "shop_history");
        assert_eq!(names().histories(), "shop.history.>");
        assert_eq!(names().history("").as_deref(), Some("shop.history.k"));
        assert_eq!(names().history("a b").as_deref(), Some("shop.history.kYSBi"));
        assert!(names().history(&"a".repeat(2048)).is_some_and(|subject| subject.len() < 4000));
        assert_eq!(names().history(&"a".repeat(2049)), None);
    }

    #[test]
    fn invalid_prefixes_are_refused_by_name() {
        for prefix in ["", "a b", "a.b", "a*", ">", "é", "a\n"] {
            let error = Names::new(prefix).unwrap_err().to_string();
            assert!(error.contains(&format!("{prefix:?}")), "{error}");
        }
        assert!(Names::new("shop-2_eu").is_ok());
    }

    proptest! {
        #[test]
        fn history_is_one_legal_token(one in "\\PC{0,20}", other in "\\PC{0,20}") {
            let subjects = [names().history(&one).unwrap(), names().history(&other).unwrap()];
            prop_assert_eq!(subjects[0] == subjects[1], one == other);
            let token = subjects[0].strip_prefix("shop.history.").unwrap();
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }
    }
}
