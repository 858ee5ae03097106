//! Destructors of application values: they may panic, and then only the value may be lost.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;

/// Drops `value`. A panic in its destructor is caught and logged; `what` names the value in the log.
pub(crate) fn run<T>(what: &'static str, value: T) {
    if let Some(error) = caught(value) {
        tracing::error!(%error, "the destructor of {what} panicked");
    }
}

/// Drops `value`; returns the panic of its destructor.
pub(crate) fn caught<T>(value: T) -> Option<Error> {
    catch_unwind(AssertUnwindSafe(|| drop(value))).err().map(|panic| Error::panic(&*panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }

    #[test]
    fn panic_of_a_destructor_is_an_error() {
        assert!(caught(Bomb).is_some_and(|error| error.is_panic()));
        assert!(caught(String::new()).is_none());
        run("a test", Bomb);
    }
}
