//! The users who joined a room, left it or changed their metas: the difference between two lists of those present.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// The metas of a user, one for each device, sorted; `None` for a device without a meta. Shared, because lists and
/// changes contain the same user many times.
pub(crate) type Metas = Arc<[Option<Bytes>]>;

/// The users whose presence in one room changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(BTreeMap<Arc<str>, Change>);

/// The change of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The user is present now, with these metas.
    Joined(Metas),
    /// The user is no longer present; the metas are the last ones that the receiver knows.
    Left(Metas),
    /// The user is still present, with other metas.
    Updated { before: Metas, after: Metas },
}

impl Change {
    /// The change from one presence to another; `None` if there is no difference.
    pub(super) fn between(before: Option<Metas>, after: Option<&Metas>) -> Option<Self> {
        match (before, after) {
            (None, Some(after)) => Some(Self::Joined(after.clone())),
            (Some(before), None) => Some(Self::Left(before)),
            (Some(before), Some(after)) if before != *after => Some(Self::Updated { before, after: after.clone() }),
            _ => None,
        }
    }

    /// This change and a later one as one; `None` if they cancel each other out.
    fn then(self, later: &Self) -> Option<Self> {
        let before = match self {
            Self::Joined(_) => None,
            Self::Left(before) | Self::Updated { before, .. } => Some(before),
        };
        let after = match later {
            Self::Joined(after) | Self::Updated { after, .. } => Some(after),
            Self::Left(_) => None,
        };
        Self::between(before, after)
    }
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds later changes of the same room, so that both together are one difference. Afterwards there is at most one
    /// change for each user that the receiver knows or that is present.
    pub(crate) fn merge(&mut self, later: &Self) {
        for (name, change) in &later.0 {
            let merged = match self.0.remove(name) {
                Some(earlier) => earlier.then(change),
                None => Some(change.clone()),
            };
            if let Some(merged) = merged {
                self.0.insert(name.clone(), merged);
            }
        }
    }

    /// The changes, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Change)> {
        self.0.iter()
    }
}

impl FromIterator<(Arc<str>, Change)> for Changes {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Change)>>(changes: I) -> Self {
        Self(changes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metas(metas: &[&'static str]) -> Metas {
        metas.iter().map(|meta| Some(Bytes::from_static(meta.as_bytes()))).collect()
    }

    fn merged(changes: &[Change]) -> Vec<Change> {
        let mut all = Changes::default();
        for change in changes {
            all.merge(&[("ann".into(), change.clone())].into_iter().collect());
        }
        all.iter().map(|(_, change)| change.clone()).collect()
    }

    #[test]
    fn merged_changes_lead_to_the_same_list() {
        use Change::{Joined, Left};
        let (a, b, c) = (metas(&["a"]), metas(&["b"]), metas(&["c"]));
        let updated = |before: &Metas, after: &Metas| Change::Updated { before: before.clone(), after: after.clone() };
        for (changes, one) in [
            (vec![Joined(a.clone()), updated(&a, &b)], vec![Joined(b.clone())]),
            (vec![Joined(a.clone()), Left(a.clone())], vec![]),
            (vec![Joined(a.clone()), updated(&a, &b), Left(b.clone())], vec![]),
            (vec![Left(a.clone()), Joined(a.clone())], vec![]),
            (vec![Left(a.clone()), Joined(b.clone())], vec![updated(&a, &b)]),
            (vec![updated(&a, &b), Left(b.clone())], vec![Left(a.clone())]),
            (vec![updated(&a, &b), Left(b.clone()), Joined(a.clone())], vec![]),
            (vec![updated(&a, &b), updated(&b, &c)], vec![updated(&a, &c)]),
            (vec![updated(&a, &b), updated(&b, &a)], vec![]),
        ] {
            assert_eq!(merged(&changes), one, "{changes:?}");
        }
    }
}
