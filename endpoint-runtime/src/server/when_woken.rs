//! A wrapper that polls a future only after a wake of its own, although its task is polled for other reasons too.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls `future` once, and from then on only after it was woken: for a future that every connection of a server
/// awaits, because each poll takes locks that all connections share.
///
/// # Cancel safety
/// That of `future`.
pub(super) async fn when_woken<F: Future>(future: F) -> F::Output {
    let ring = Arc::new(Ring { rung: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) });
    let (waker, mut task) = (Waker::from(ring.clone()), Waker::noop().clone());
    let mut future = pin!(future);
    poll_fn(|cx| {
        if !task.will_wake(cx.waker()) {
            task.clone_from(cx.waker());
            ring.belongs_to(&task);
        }
        // checked after the task is stored, so that a wake that went to the previous task is seen here
        if !ring.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// A waker that forwards a wake to the task, and records it.
struct Ring {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Ring {
    fn belongs_to(&self, task: &Waker) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(task);
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn future_is_polled_once_and_then_only_when_woken() {
        let (polls, (sender, receiver)) = (AtomicUsize::new(0), oneshot::channel());
        let mut receiver = pin!(receiver);
        let mut waiting = pin!(when_woken(poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            receiver.as_mut().poll(cx)
        })));
        let tasks = [(); 2].map(|()| Arc::new(Count::default()));
        let [first, second] = tasks.clone().map(Waker::from);
        for waker in [&first, &second] {
            for _ in 0..100 {
                assert!(waiting.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            }
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        sender.send(7).unwrap();
        // only the task that polled last is woken
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
        assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&second)), Poll::Ready(Ok(7)));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn future_that_wakes_itself_is_polled_again() {
        let mut left = 3;
        let mut waiting = pin!(when_woken(poll_fn(move |cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
        let task = Arc::new(Count::default());
        let waker = Waker::from(task.clone());
        let cx = &mut Context::from_waker(&waker);
        for woken in 1..=3 {
            assert!(waiting.as_mut().poll(cx).is_pending());
            assert_eq!(task.0.load(Ordering::Relaxed), woken);
        }
        assert!(waiting.as_mut().poll(cx).is_ready());
    }
}
