//! Buckets of rooms and users, and in which of them a node has sessions. Pure.

/// Buckets of rooms, and as many of users: enough that a node with few rooms receives little that it does not need, and
/// few enough that joining a room seldom needs a subscription.
pub(crate) const BUCKETS: u16 = 256;

/// Buckets of both kinds together.
pub(crate) const ALL_BUCKETS: usize = 2 * BUCKETS as usize;

/// The bucket of a room.
pub(crate) fn room_bucket(name: &str) -> u16 {
    bucket(name)
}

/// The bucket of a user.
pub(crate) fn user_bucket(name: &str) -> u16 {
    BUCKETS + bucket(name)
}

/// FNV-1a, folded: every node must compute the same, in every version.
fn bucket(name: &str) -> u16 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // the remainder is less than the number of buckets
    ((hash ^ hash >> 32) % u64::from(BUCKETS)) as u16
}

const WORDS: usize = ALL_BUCKETS / 64;

/// A set of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterestSet([u64; WORDS]);

impl InterestSet {
    /// Adds or removes a bucket.
    pub(crate) fn set(&mut self, bucket: u16, is_in: bool) {
        let (word, bit) = (usize::from(bucket) / 64, bucket % 64);
        if let Some(word) = self.0.get_mut(word) {
            *word = *word & !(1 << bit) | u64::from(is_in) << bit;
        }
    }

    pub(crate) fn contains(&self, bucket: u16) -> bool {
        self.0.get(usize::from(bucket) / 64).is_some_and(|word| word >> (bucket % 64) & 1 == 1)
    }

    /// The buckets in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..2 * BUCKETS).filter(|bucket| self.contains(*bucket))
    }

    /// The buckets of both sets.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The buckets that are in this set and not in `other`.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    pub(crate) fn to_bytes(self) -> [u8; 8 * WORDS] {
        let mut bytes = [0; 8 * WORDS];
        bytes.chunks_exact_mut(8).zip(self.0).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote: bit `n % 8` of byte `n / 8` is bucket `n`. Bytes that are missing
    /// are zero, and more bytes are ignored.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::default();
        for (number, byte) in bytes.iter().take(8 * WORDS).enumerate() {
            set.0[number / 8] |= u64::from(*byte) << (8 * (number % 8));
        }
        set
    }
}

impl FromIterator<u16> for InterestSet {
    fn from_iter<I: IntoIterator<Item = u16>>(buckets: I) -> Self {
        let mut set = Self::default();
        buckets.into_iter().for_each(|bucket| set.set(bucket, true));
        set
    }
}

/// How many rooms or users of this node are in each bucket.
#[derive(Debug)]
pub(crate) struct Local {
    counts: Box<[u32; ALL_BUCKETS]>,
}

impl Default for Local {
    fn default() -> Self {
        Self { counts: Box::new([0; ALL_BUCKETS]) }
    }
}

impl Local {
    /// Counts one more; returns whether it is the first in its bucket.
    pub(crate) fn add(&mut self, bucket: u16) -> bool {
        let Some(count) = self.counts.get_mut(usize::from(bucket)) else { return false };
        *count += 1;
        *count == 1
    }

    /// Counts one less; returns whether it was the last in its bucket.
    pub(crate) fn remove(&mut self, bucket: u16) -> bool {
        let Some(count) = self.counts.get_mut(usize::from(bucket)) else { return false };
        let before = *count;
        *count = before.saturating_sub(1);
        before == 1
    }

    /// The buckets in use.
    pub(crate) fn set(&self) -> InterestSet {
        (0..2 * BUCKETS).filter(|bucket| self.counts[usize::from(*bucket)] > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_are_read_back(buckets in prop::collection::btree_set(0..2 * BUCKETS, 0..50)) {
            let set: InterestSet = buckets.iter().copied().collect();
            prop_assert_eq!(InterestSet::from_bytes(&set.to_bytes()), set);
            prop_assert!(set.iter().eq(buckets.iter().copied()));
            prop_assert_eq!(set.without(&set), InterestSet::default());
        }

        #[test]
        fn buckets_are_in_their_range(name: String) {
            prop_assert!(room_bucket(&name) < BUCKETS);
            prop_assert!((BUCKETS..2 * BUCKETS).contains(&user_bucket(&name)));
        }
    }

    /// Nodes of different versions must agree.
    #[test]
    fn buckets_never_change() {
        assert_eq!(["", "42", "lobby", "日本"].map(room_bucket), [193, 36, 133, 164]);
        assert_eq!(user_bucket("42"), 256 + 36);
    }

    #[test]
    fn names_spread_over_the_buckets() {
        let mut counts = [0u32; BUCKETS as usize];
        (0..25_600).for_each(|number| counts[usize::from(room_bucket(&number.to_string()))] += 1);
        assert!(counts.iter().all(|count| (50..=150).contains(count)), "{counts:?}");
    }
}
