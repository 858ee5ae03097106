//! One value for each runtime that serves a container. Several runtimes may share a container, such as one per core.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::{Handle, Id};

/// Once this many values exist, unused ones are dropped before another one is made.
const MOST: usize = 64;

/// One value for each runtime. Finding the first one takes no lock.
#[derive(Debug)]
pub(crate) struct PerRuntime<T> {
    first: OnceLock<(Id, Arc<T>)>,
    others: Mutex<Vec<(Id, Arc<T>)>>,
}

impl<T> Default for PerRuntime<T> {
    fn default() -> Self {
        Self { first: OnceLock::new(), others: Mutex::default() }
    }
}

impl<T> PerRuntime<T> {
    /// The value of `runtime`; makes it if necessary.
    pub(crate) fn of(&self, runtime: &Handle, make: impl Fn() -> T) -> Arc<T> {
        let id = runtime.id();
        let (first, value) = self.first.get_or_init(|| (id, Arc::new(make())));
        if *first == id {
            return value.clone();
        }
        let mut others = self.others();
        if let Some(value) = find(&others, id) {
            return value;
        }
        // runtimes may come and go while the container lives
        if others.len() >= MOST {
            others.retain(|(_, value)| Arc::strong_count(value) > 1);
        }
        let value = Arc::new(make());
        others.push((id, value.clone()));
        value
    }

    /// The value of `runtime`, if there is one.
    pub(crate) fn get(&self, runtime: &Handle) -> Option<Arc<T>> {
        let id = runtime.id();
        match self.first.get()? {
            (first, value) if *first == id => Some(value.clone()),
            _ => find(&self.others(), id),
        }
    }

    fn others(&self) -> MutexGuard<'_, Vec<(Id, Arc<T>)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<T>(values: &[(Id, Arc<T>)], id: Id) -> Option<Arc<T>> {
    values.iter().find(|(other, _)| *other == id).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn each_runtime_has_its_own_value() {
        let (values, runtimes) = (PerRuntime::<u8>::default(), [runtime(), runtime(), runtime()]);
        assert!(values.get(runtimes[0].handle()).is_none());
        let made: Vec<_> = runtimes.iter().map(|runtime| values.of(runtime.handle(), || 7)).collect();
        for (runtime, made_here) in runtimes.iter().zip(&made) {
            assert!(Arc::ptr_eq(&values.of(runtime.handle(), || 8), made_here));
            assert!(Arc::ptr_eq(&values.get(runtime.handle()).unwrap(), made_here));
            let same = |other: &&Arc<u8>| Arc::ptr_eq(other, made_here);
            assert_eq!(made.iter().filter(same).count(), 1);
        }
    }

    #[test]
    fn values_of_dropped_runtimes_are_removed() {
        let values = PerRuntime::<u8>::default();
        let (first, used) = (runtime(), runtime());
        values.of(first.handle(), || 7);
        let value = values.of(used.handle(), || 7);
        for _ in 0..2 * MOST {
            values.of(runtime().handle(), || 7);
        }
        assert!(values.others().len() <= MOST);
        assert!(Arc::ptr_eq(&values.of(used.handle(), || 8), &value));
    }
}
