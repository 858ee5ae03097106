//! A chunked list with constant-time snapshots: a change copies only the nodes on its path, and those only while a
//! snapshot holds them. The list neither locks nor waits, and drops no entry: a change hands out the nodes it replaces.

use std::slice;
use std::sync::Arc;

/// Entries of a node, chunk or branch. A change beside a snapshot copies one node of each level, and increments as many
/// reference counts as those have entries; with 8, a list of 100,000 has six levels.
const WIDTH: usize = 1 << BITS;
// a model has few sessions, but must have several levels
const BITS: u32 = if cfg!(model_check) { 1 } else { 3 };

/// A chunked list: a tree whose nodes are full except those on its right edge.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    root: Arc<Node<T>>,
    len: usize,
    /// Number of branch levels above the chunks.
    height: u32,
}

#[derive(Clone, Debug)]
enum Node<T> {
    Chunk(Vec<T>),
    Branch(Vec<Arc<Node<T>>>),
}

/// The nodes that changes have replaced. Drop it only when no lock is held: entries may be dropped with it.
#[derive(Debug)]
pub(crate) struct Replaced<T>(Vec<Arc<Node<T>>>);

impl<T> Default for Replaced<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Chunk(Vec::new())), len: 0, height: 0 }
    }
}

impl<T: Clone> Chunks<T> {
    /// Appends an entry.
    pub(crate) fn push(&mut self, entry: T, replaced: &mut Replaced<T>) {
        if self.len == WIDTH << (BITS * self.height) {
            let full = std::mem::replace(&mut self.root, Arc::new(Node::Branch(Vec::new())));
            if let Some(Node::Branch(nodes)) = Arc::get_mut(&mut self.root) {
                nodes.push(full);
            }
            self.height += 1;
        }
        let mut node = &mut self.root;
        for level in (0..=self.height).rev() {
            match writable(node, replaced) {
                Node::Chunk(entries) => {
                    entries.push(entry);
                    self.len += 1;
                    return;
                }
                Node::Branch(nodes) => {
                    let index = index_in(self.len, level);
                    if index == nodes.len() {
                        let empty = if level == 1 { Node::Chunk(Vec::new()) } else { Node::Branch(Vec::new()) };
                        nodes.push(Arc::new(empty));
                    }
                    node = &mut nodes[index];
                }
            }
        }
    }

    /// Removes an entry and moves the last one to its index. `None` if there is no such entry.
    pub(crate) fn swap_remove(&mut self, index: usize, replaced: &mut Replaced<T>) -> Option<T> {
        if index >= self.len {
            return None;
        }
        let last = pop(&mut self.root, replaced)?;
        self.len -= 1;
        self.lower();
        match self.get_mut(index, replaced) {
            Some(place) => Some(std::mem::replace(place, last)),
            None => Some(last),
        }
    }

    /// Swaps two entries. Does nothing if one of them does not exist.
    pub(crate) fn swap(&mut self, one: usize, other: usize, replaced: &mut Replaced<T>) {
        let (Some(first), Some(second)) = (self.get(one).cloned(), self.get(other).cloned()) else { return };
        for (index, entry) in [(one, second), (other, first)] {
            if let Some(place) = self.get_mut(index, replaced) {
                *place = entry;
            }
        }
    }

    /// Removes root branches with a single child.
    fn lower(&mut self) {
        while let Node::Branch(nodes) = &*self.root {
            let [only] = &nodes[..] else { break };
            // dropping the old root drops no entry: the list was just changed, so no snapshot shares its root
            self.root = only.clone();
            self.height -= 1;
        }
    }

    fn get_mut(&mut self, index: usize, replaced: &mut Replaced<T>) -> Option<&mut T> {
        if index >= self.len {
            return None;
        }
        let mut node = &mut self.root;
        for level in (0..=self.height).rev() {
            match writable(node, replaced) {
                Node::Chunk(entries) => return entries.get_mut(index_in(index, 0)),
                Node::Branch(nodes) => node = nodes.get_mut(index_in(index, level))?,
            }
        }
        None
    }
}

impl<T> Chunks<T> {
    /// The entry at an index.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        let mut node = &*self.root;
        for level in (0..=self.height).rev() {
            match node {
                Node::Chunk(entries) => return entries.get(index_in(index, 0)),
                Node::Branch(nodes) => node = nodes.get(index_in(index, level))?,
            }
        }
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A snapshot of the current list, without a copy.
    pub(crate) fn snapshot(&self) -> Snapshot<T> {
        self.first(self.len)
    }

    /// A snapshot of the first `len` entries, without a copy.
    pub(crate) fn first(&self, len: usize) -> Snapshot<T> {
        Snapshot(Lists::One(Front { root: self.root.clone(), len }))
    }
}

/// Index within a node of this level on the path to an entry; level 0 is the chunks.
fn index_in(index: usize, level: u32) -> usize {
    (index >> (BITS * level)) % WIDTH
}

/// The node for a change, copied first if it is shared.
fn writable<'a, T: Clone>(node: &'a mut Arc<Node<T>>, replaced: &mut Replaced<T>) -> &'a mut Node<T> {
    if Arc::get_mut(node).is_none() {
        let copy = Arc::new(node.copy());
        replaced.0.push(std::mem::replace(node, copy));
    }
    // not shared, so this does not clone
    Arc::make_mut(node)
}

/// Removes the last entry, and the nodes that become empty.
fn pop<T: Clone>(node: &mut Arc<Node<T>>, replaced: &mut Replaced<T>) -> Option<T> {
    match writable(node, replaced) {
        Node::Chunk(entries) => entries.pop(),
        Node::Branch(nodes) => {
            let last = nodes.last_mut()?;
            let popped = pop(last, replaced);
            if last.is_empty() {
                nodes.pop();
            }
            popped
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Chunk(entries) => entries.is_empty(),
            Self::Branch(nodes) => nodes.is_empty(),
        }
    }
}

impl<T: Clone> Node<T> {
    /// A copy with capacity for one more entry, up to the width of a node.
    fn copy(&self) -> Self {
        fn copy<T: Clone>(entries: &[T]) -> Vec<T> {
            let mut copy = Vec::with_capacity((entries.len() + 1).next_power_of_two().min(WIDTH));
            copy.extend_from_slice(entries);
            copy
        }
        match self {
            Self::Chunk(entries) => Self::Chunk(copy(entries)),
            Self::Branch(nodes) => Self::Branch(copy(nodes)),
        }
    }
}

/// The entries of one or several lists at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(Lists<T>);

#[derive(Debug)]
enum Lists<T> {
    One(Front<T>),
    Several(Arc<[Front<T>]>),
}

/// The first `len` entries of a tree.
#[derive(Debug)]
struct Front<T> {
    root: Arc<Node<T>>,
    len: usize,
}

impl<T> Snapshot<T> {
    /// The entries of several lists, in order.
    pub(crate) fn joined(parts: impl Iterator<Item = Self>) -> Self {
        Self(Lists::Several(parts.flat_map(|part| part.fronts().to_vec()).collect()))
    }

    /// Iterates over the entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.nodes().flat_map(|(node, len)| node.entries(len))
    }

    /// The chunk nodes, each with the number of entries that belong to the snapshot.
    fn nodes(&self) -> Nodes<'_, T> {
        Nodes { fronts: self.fronts().iter(), left: 0, rest: Vec::new() }
    }

    fn fronts(&self) -> &[Front<T>] {
        match &self.0 {
            Lists::One(front) => slice::from_ref(front),
            Lists::Several(fronts) => fronts,
        }
    }
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Lists::One(front) => Lists::One(front.clone()),
            Lists::Several(fronts) => Lists::Several(fronts.clone()),
        })
    }
}

impl<T> Clone for Front<T> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self(Lists::Several(Arc::default()))
    }
}

impl<T: Clone> FromIterator<T> for Snapshot<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        // nothing is replaced, since the list is not shared yet
        let (mut list, mut replaced) = (Chunks::default(), Replaced::default());
        entries.into_iter().for_each(|entry| list.push(entry, &mut replaced));
        list.snapshot()
    }
}

impl<T> Node<T> {
    /// At most `len` entries if the node is a chunk, otherwise none.
    fn entries(&self, len: usize) -> &[T] {
        match self {
            Self::Chunk(entries) => &entries[..len.min(entries.len())],
            Self::Branch(_) => &[],
        }
    }
}

/// Iterator over the chunks of a snapshot, from left to right.
struct Nodes<'a, T> {
    /// The remaining lists.
    fronts: slice::Iter<'a, Front<T>>,
    /// Number of remaining entries of the current list.
    left: usize,
    /// The remaining nodes of the current list, the nearest last.
    rest: Vec<slice::Iter<'a, Arc<Node<T>>>>,
}

impl<'a, T> Iterator for Nodes<'a, T> {
    type Item = (&'a Arc<Node<T>>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let node = if self.left == 0 {
                let front = self.fronts.find(|front| front.len > 0)?;
                self.left = front.len;
                self.rest.clear();
                &front.root
            } else if let Some(node) = self.rest.last_mut()?.next() {
                node
            } else {
                self.rest.pop();
                continue;
            };
            match &**node {
                Node::Chunk(entries) => {
                    let len = entries.len().min(self.left);
                    self.left -= len;
                    return Some((node, len));
                }
                Node::Branch(nodes) => self.rest.push(nodes.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed<T: Clone>(snapshot: &Snapshot<T>) -> Vec<T> {
        snapshot.iter().cloned().collect()
    }

    fn pushed<T: Clone>(list: &mut Chunks<T>, entry: T) -> Replaced<T> {
        let mut replaced = Replaced::default();
        list.push(entry, &mut replaced);
        replaced
    }

    fn removed<T: Clone>(list: &mut Chunks<T>, index: usize) -> (Option<T>, Replaced<T>) {
        let mut replaced = Replaced::default();
        (list.swap_remove(index, &mut replaced), replaced)
    }

    #[derive(Clone, Debug)]
    enum Change {
        Push(usize),
        Remove(usize),
        Swap(usize, usize),
        Snapshot(usize),
        Forget(usize),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            // in runs, so that several levels are added and removed
            3 => (1..400usize).prop_map(Change::Push),
            6 => any::<usize>().prop_map(Change::Remove),
            2 => any::<(usize, usize)>().prop_map(|(one, other)| Change::Swap(one, other)),
            3 => any::<usize>().prop_map(Change::Snapshot),
            1 => any::<usize>().prop_map(Change::Forget),
        ];
        prop::collection::vec(change, 0..60)
    }

    proptest! {
        #[test]
        fn chunked_list_matches_a_vec_and_snapshots_never_change(changes in changes()) {
            let (mut chunked, mut naive) = (Chunks::default(), Vec::new());
            let mut snapshots: Vec<(Snapshot<u32>, Vec<u32>)> = Vec::new();
            let mut count = 0;
            for change in changes {
                match change {
                    Change::Push(times) => {
                        for _ in 0..times {
                            count += 1;
                            naive.push(count);
                            pushed(&mut chunked, count);
                        }
                    }
                    // many at a time, from one index on
                    Change::Remove(place) => {
                        for _ in 0..(place % 300).min(naive.len()) {
                            let place = place % naive.len();
                            prop_assert_eq!(removed(&mut chunked, place).0, Some(naive.swap_remove(place)));
                            prop_assert_eq!(chunked.get(place), naive.get(place));
                        }
                    }
                    Change::Swap(one, other) if !naive.is_empty() => {
                        let (one, other) = (one % naive.len(), other % naive.len());
                        naive.swap(one, other);
                        chunked.swap(one, other, &mut Replaced::default());
                    }
                    Change::Snapshot(len) => {
                        let len = len % (naive.len() + 1);
                        snapshots.push((chunked.first(len), naive[..len].to_vec()));
                    }
                    Change::Forget(which) if !snapshots.is_empty() => drop(snapshots.swap_remove(which % snapshots.len())),
                    Change::Swap(..) | Change::Forget(_) => {}
                }
                prop_assert_eq!(chunked.len(), naive.len());
                prop_assert!(removed(&mut chunked, naive.len()).0.is_none());
                prop_assert_eq!(chunked.get(naive.len()), None);
                prop_assert_eq!(&listed(&chunked.snapshot()), &naive);
                for (snapshot, naive) in &snapshots {
                    prop_assert_eq!(&listed(snapshot), naive);
                    let chunks = || snapshot.nodes().map(|(node, len)| node.entries(len).len());
                    prop_assert!(chunks().all(|chunk| (1..=WIDTH).contains(&chunk)));
                    prop_assert_eq!(chunks().sum::<usize>(), naive.len());
                }
            }
        }
    }

    #[test]
    fn change_beside_a_snapshot_copies_one_node_per_level() {
        let mut list: Chunks<u32> = Chunks::default();
        (0..100_000).for_each(|entry| drop(pushed(&mut list, entry)));
        assert_eq!(pushed(&mut list, 0).0.len(), 0, "it is not shared");
        let before = list.snapshot();
        assert_eq!(pushed(&mut list, 0).0.len(), 6);
        assert_eq!(pushed(&mut list, 0).0.len(), 0, "it was copied already");
        let after = list.snapshot();
        // on the path to the last entry, and to the one that it replaces; both paths share the root
        assert_eq!(removed(&mut list, 50_000).1.0.len(), 11);
        drop((before, after));
    }

    #[test]
    fn replaced_entries_are_returned_for_dropping() {
        let mut list = Chunks::default();
        let entry = Arc::new(());
        pushed(&mut list, entry.clone());
        let snapshot = list.snapshot();
        let (removed, replaced) = removed(&mut list, 0);
        drop((removed, snapshot));
        assert_eq!(Arc::strong_count(&entry), 2);
        drop(replaced);
        assert_eq!(Arc::strong_count(&entry), 1);
    }

    #[test]
    fn snapshots_of_several_lists_combine() {
        let parts = [0..3, 3..3, 3..2000].map(|range| range.collect::<Snapshot<u32>>());
        let joined = Snapshot::joined(parts.into_iter());
        assert_eq!(listed(&joined), (0..2000).collect::<Vec<_>>());
        assert!(listed(&Snapshot::<u32>::joined([].into_iter())).is_empty());
        assert!(listed(&Snapshot::<u32>::default()).is_empty());
    }
}
