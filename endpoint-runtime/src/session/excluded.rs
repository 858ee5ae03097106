//! Sessions that a selection excludes.

use std::collections::HashSet;
use std::sync::Arc;

use self::sealed::Identified;
use super::id::SessionId;
use super::session::Session;

/// One or several sessions, as arguments: `&session`, `[&ann, &ben]`, a slice, a vector, a set, an option, or
/// [`OpenSessions`](crate::OpenSessions); each as [`Session`], `&Session` or [`SessionId`].
pub trait SessionIds: sealed::Sealed {
    #[doc(hidden)]
    fn each(self, id: impl FnMut(SessionId));
}

pub(super) mod sealed {
    use super::SessionId;

    pub trait Sealed {}

    /// A session, or its ID.
    pub trait Identified: Sealed {
        fn session_id(&self) -> SessionId;
    }
}

impl sealed::Sealed for Session {}
impl sealed::Sealed for SessionId {}
impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {}
impl<T: sealed::Sealed> sealed::Sealed for [T] {}
impl<T: sealed::Sealed, const N: usize> sealed::Sealed for [T; N] {}
impl<T: sealed::Sealed> sealed::Sealed for Vec<T> {}
impl<T: sealed::Sealed> sealed::Sealed for Option<T> {}
impl<T: sealed::Sealed> sealed::Sealed for HashSet<T> {}

impl Identified for Session {
    fn session_id(&self) -> SessionId {
        self.id()
    }
}

impl Identified for SessionId {
    fn session_id(&self) -> SessionId {
        *self
    }
}

impl<T: Identified> Identified for &T {
    fn session_id(&self) -> SessionId {
        (**self).session_id()
    }
}

macro_rules! session_ids {
    ($([$($generics:tt)*] $type:ty, |$this:ident| $ids:expr;)*) => {$(
        impl<$($generics)*> SessionIds for $type {
            fn each(self, id: impl FnMut(SessionId)) {
                let $this = self;
                $ids.for_each(id);
            }
        }
    )*};
}
session_ids! {
    [] SessionId, |this| std::iter::once(this);
    [] &SessionId, |this| std::iter::once(*this);
    [] &Session, |this| std::iter::once(this.id());
    [T: Identified] Option<T>, |this| this.iter().map(T::session_id);
    [T: Identified] &HashSet<T>, |this| this.iter().map(T::session_id);
    [T: Identified] &[T], |this| this.iter().map(T::session_id);
    [T: Identified] &Vec<T>, |this| this.iter().map(T::session_id);
    [T: Identified] Vec<T>, |this| this.iter().map(T::session_id);
    [T: Identified, const N: usize] [T; N], |this| this.iter().map(T::session_id);
    [T: Identified, const N: usize] &[T; N], |this| this.iter().map(T::session_id);
}

/// The sessions that a selection excludes. Usually it is one, which needs no memory.
#[derive(Clone, Debug)]
pub(super) enum Excluded {
    Nobody,
    One(SessionId),
    /// Sorted.
    Several(Arc<[SessionId]>),
}

impl Excluded {
    /// Excludes these as well.
    pub(super) fn and(self, others: impl SessionIds) -> Self {
        let (mut first, mut more) = (None, Vec::new());
        others.each(|id| match first {
            None => first = Some(id),
            Some(_) => more.push(id),
        });
        let Some(first) = first else { return self };
        if more.is_empty() && matches!(self, Self::Nobody) {
            return Self::One(first);
        }
        more.push(first);
        more.extend_from_slice(self.as_slice());
        more.sort_unstable();
        more.dedup();
        Self::Several(more.into())
    }

    #[inline]
    pub(super) fn contains(&self, session: &Session) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(one) => session.id() == *one,
            Self::Several(ids) => ids.binary_search(&session.id()).is_ok(),
        }
    }

    pub(super) fn as_slice(&self) -> &[SessionId] {
        match self {
            Self::Nobody => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(ids) => ids,
        }
    }
}
