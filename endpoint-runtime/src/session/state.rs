//! Values that the application shares with all its handlers: one of each type.

use std::any::{Any, TypeId};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::observe::destructors;

/// A value that all sessions share, such as a pool of database connections: set once by
/// [`ContainerBuilder::state`](crate::ContainerBuilder::state), available to any handler as a parameter.
///
/// ```
/// use std::collections::HashMap;
///
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::{ServerContainer, State};
///
/// struct Prices(HashMap<String, u64>);
///
/// #[server_endpoint("/prices")]
/// #[derive(Default)]
/// struct Ticker;
///
/// impl Ticker {
///     #[on_message]
///     async fn ask(&mut self, item: String, prices: State<Prices>) -> Option<u64> {
///         prices.0.get(&item).copied()
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let prices = Prices(HashMap::from([("tea".to_owned(), 3)]));
/// ServerContainer::builder().register::<Ticker>().state(prices).build()?;
/// # Ok(()) }
/// ```
///
/// Dereferences to the value. A clone shares the value. `&State<T>` saves the clone if the handler only reads.
///
/// In a handler the pattern `State(db): State<Db>` binds `db` to the `Arc<Db>` itself, and `State(db): &State<Db>` to
/// `&Arc<Db>`. Elsewhere [`State::into_arc`] and [`State::as_arc`] return it.
pub struct State<T: ?Sized>(Arc<T>);

impl<T> State<T> {
    /// Wraps a value, for code that calls a handler directly.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: ?Sized> State<T> {
    /// The shared value: `State::into_arc(state)`, so that the method does not hide one of `T`.
    pub fn into_arc(state: Self) -> Arc<T> {
        state.0
    }

    /// The shared value, borrowed: `State::as_arc(&state)`.
    pub fn as_arc(state: &Self) -> &Arc<T> {
        &state.0
    }
}

impl<T: ?Sized> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> Deref for State<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&&*self.0).finish()
    }
}

/// The values of one container, in a vector because they are few.
#[derive(Default)]
pub(crate) struct States(Vec<Provided>);

/// A value with its type.
struct Provided {
    id: TypeId,
    type_name: &'static str,
    value: Box<dyn Any + Send + Sync>,
}

impl States {
    /// Adds a value.
    ///
    /// # Errors
    /// There is a value of this type already; it stays.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Result<(), String> {
        let (id, type_name) = (TypeId::of::<T>(), std::any::type_name::<T>());
        if self.find(id).is_some() {
            return Err(format!(
                "State<{type_name}> is provided twice: remove one `.state(…)`, or wrap one in its own type"
            ));
        }
        self.0.push(Provided { id, type_name, value: Box::new(State::new(value)) });
        Ok(())
    }

    pub(crate) fn get<T: 'static>(&self) -> Option<&State<T>> {
        self.find(TypeId::of::<T>())?.value.downcast_ref()
    }

    fn find(&self, id: TypeId) -> Option<&Provided> {
        self.0.iter().find(|provided| provided.id == id)
    }

    /// Whether the state that a handler requires exists.
    pub(crate) fn have(&self, wanted: &StateRequirement) -> bool {
        self.find((wanted.type_id)()).is_some()
    }

    /// The error for a state that a handler requires and that is missing.
    pub(crate) fn missing(&self, wanted: &StateRequirement) -> String {
        let (method, name) = (wanted.method, (wanted.type_name)());
        // most often an `Arc` around it, or an `Arc` that was expected
        let contains = |outer: &str, inner: &str| outer.contains(&format!("<{inner}>"));
        let mut provided = self.0.iter().map(|provided| provided.type_name);
        let hint = provided.find(|other| contains(other, name) || contains(name, other));
        let hint = hint.map(|other| format!(" (State<{other}> is provided)")).unwrap_or_default();
        format!("`{method}` takes State<{name}>: provide it with .state(…){hint}")
    }
}

/// Catches panics of destructors: a session may hold the last reference, and a panic must not end its task.
impl Drop for States {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|provided| destructors::run("a state", provided.value));
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("len", &self.0.len()).finish()
    }
}

/// A `State<T>` that a handler requires.
#[derive(Clone, Copy, Debug)]
pub struct StateRequirement {
    type_id: fn() -> TypeId,
    /// The name of `T`.
    pub(crate) type_name: fn() -> &'static str,
    /// The handler's method.
    pub(crate) method: &'static str,
}

impl StateRequirement {
    /// The handler `method` requires `State<T>`.
    pub const fn of<T: Send + Sync + 'static>(method: &'static str) -> Self {
        Self { type_id: TypeId::of::<T>, type_name: std::any::type_name::<T>, method }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_found_by_type_and_there_is_one_of_each() {
        let mut states = States::default();
        states.insert(1u8).unwrap();
        states.insert("one").unwrap();
        assert!(states.insert(2u8).unwrap_err().contains("State<u8> is provided twice"));
        assert_eq!(states.get::<u8>().map(|state| **state), Some(1));
        assert_eq!(states.get::<&str>().map(|state| **state), Some("one"));
        assert!(states.get::<u16>().is_none());
        assert!(states.have(&StateRequirement::of::<u8>("f")) && !states.have(&StateRequirement::of::<u16>("f")));
    }

    #[test]
    fn a_clone_is_the_same_value() {
        let state = State::new(String::from("a"));
        assert!(std::ptr::eq(&*state, &*state.clone()));
        assert_eq!(format!("{state:?}"), r#"State("a")"#);
    }
}
