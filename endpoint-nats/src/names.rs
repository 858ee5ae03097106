//! Names in NATS: a subject for each subject of the cluster, and one for each history.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use endpoint_runtime::cluster::Subject;

/// The prefix, if none is set.
const DEFAULT: &str = "ws";

/// Longest key of a history in bytes: its subject has to fit into the 4 KiB of a line of the protocol.
const LONGEST_KEY: usize = 2048;

/// Prefix of every subject and of the stream, so that several applications can share an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Arc<str>);

impl Default for Names {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl Names {
    /// Bytes other than letters, digits, `-` and `_` are written as `%` and two hexadecimal digits. An empty
    /// prefix is the default one.
    pub(crate) fn new(prefix: &str) -> Self {
        let mut names = String::with_capacity(prefix.len());
        for byte in if prefix.is_empty() { DEFAULT } else { prefix }.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
                names.push(byte.into());
            } else {
                names.push_str(&format!("%{byte:02X}"));
            }
        }
        Self(names.into())
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
        Names::new("shop")
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
    fn prefixes_are_written_with_legal_characters() {
        for (prefix, written) in [
            ("", "ws"),
            ("a b", "a%20b"),
            ("a.b", "a%2Eb"),
            ("a*", "a%2A"),
            (">", "%3E"),
            ("é", "%C3%A9"),
            ("a%", "a%25"),
        ] {
            assert_eq!(Names::new(prefix).prefix(), written);
        }
        assert_eq!(Names::new("shop-2_eu").prefix(), "shop-2_eu");
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
