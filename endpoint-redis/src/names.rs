//! Names in Redis: a channel for each subject, a key for each history.

use std::sync::Arc;

use endpoint_runtime::cluster::Subject;

/// The prefix, if none is set.
const DEFAULT: &str = "ws";

/// Prefix of every channel and key, so that several applications can share a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Arc<str>);

impl Default for Names {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl Names {
    /// Bytes other than letters, digits, `-`, `_` and `:` are written as `%` and two hexadecimal digits. An empty
    /// prefix is the default one.
    pub(crate) fn new(prefix: &str) -> Self {
        let mut names = String::with_capacity(prefix.len());
        for byte in if prefix.is_empty() { DEFAULT } else { prefix }.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_:".contains(&byte) {
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

    pub(crate) fn channel(&self, subject: Subject) -> String {
        format!("{}.{subject}", self.0)
    }

    /// The subject of a channel, or nothing for a channel of somebody else.
    pub(crate) fn subject(&self, channel: &[u8]) -> Option<Subject> {
        let rest = channel.strip_prefix(self.0.as_bytes())?.strip_prefix(b".")?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    }

    /// The key of the stream that keeps a history. Braces are written as `%7B` and `%7D`: Redis Cluster takes what stands
    /// between braces as the part of a key that chooses its server, and one server would keep all such histories.
    pub(crate) fn history(&self, key: &str) -> String {
        let escaped = key.replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
        format!("{}.history.{escaped}", self.0)
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
    fn channel_is_the_prefix_a_dot_and_the_subject() {
        assert_eq!(names().channel(Subject::Nodes), "shop.nodes");
        assert_eq!(names().channel(Subject::Node(NodeId::from_bits(0xAB))), "shop.node.00000000000000ab");
        assert_eq!(names().channel(Subject::Bucket(7)), "shop.bucket.7");
    }

    #[test]
    fn channels_of_somebody_else_are_no_subjects() {
        for channel in ["", "shop", "shop.", "shop.node", "shopping.nodes", "other.nodes", "shop.bucket.70000"] {
            assert_eq!(names().subject(channel.as_bytes()), None, "{channel}");
        }
        assert_eq!(names().subject(b"shop.\xFF"), None);
    }

    #[test]
    fn prefixes_are_written_with_legal_characters() {
        for (prefix, written) in
            [("", "ws"), ("a b", "a%20b"), ("{a}", "%7Ba%7D"), ("a.b", "a%2Eb"), ("é", "%C3%A9"), ("a%", "a%25")]
        {
            assert_eq!(Names::new(prefix).prefix(), written);
        }
        assert_eq!(Names::new("shop-2:eu_west").prefix(), "shop-2:eu_west");
    }

    proptest! {
        #[test]
        fn subject_is_read_back_from_its_channel(id: u64, bucket: u16) {
            for subject in [Subject::Nodes, Subject::Node(NodeId::from_bits(id)), Subject::Bucket(bucket)] {
                prop_assert_eq!(names().subject(names().channel(subject).as_bytes()), Some(subject));
            }
        }

        #[test]
        fn histories_have_different_keys_without_braces(one in "[{}%0-9A-F]{0,6}", other in "[{}%0-9A-F]{0,6}") {
            let keys = [names().history(&one), names().history(&other)];
            prop_assert_eq!(keys[0] == keys[1], one == other);
            let has_brace = keys[0].contains(['{', '}']);
            prop_assert!(!has_brace);
        }
    }
}
