//! Sets of many sessions: how long a change takes together with the snapshot that the next broadcast takes, while another
//! thread walks through snapshots of its own; and how long a small room waits for a large one. No socket, no system call.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use endpoint_runtime::OpenSessions;
use endpoint_runtime::measuring::{Endpoint, Entry};

const SESSIONS: usize = 100_000;

/// Changes per measurement. Each finds the set held by the snapshot that was taken after the change before it.
const CHANGES: usize = 5_000;

fn main() {
    println!("{:<58}{:>9}{:>9}{:>9}{:>11}", "times in µs", "mean", "p50", "p99", "max");
    let endpoint = Endpoint::new();
    let members: Vec<Entry> = (0..SESSIONS).map(|_| endpoint.session()).collect();
    members.iter().for_each(Entry::enter);
    let guests: Vec<Entry> = (0..CHANGES).map(|_| endpoint.session()).collect();
    let someone = members[0].session();

    let everybody = || someone.open_sessions();
    let walk = |sessions: OpenSessions| {
        black_box(sessions.iter().filter(|session| session.is_open()).count());
    };
    let (mut came, mut went) = (Times::default(), Times::default());
    let mut last = everybody();
    beside(&|| walk(everybody()), || {
        for guest in guests {
            came.time(|| {
                guest.enter();
                last = everybody();
            });
            went.time(|| {
                drop(guest);
                last = everybody();
            });
        }
    });
    came.print("endpoint of 100,000: a session comes, and a snapshot");
    went.print("endpoint of 100,000: a session goes, and a snapshot");

    for member in &members {
        member.session().join("large");
    }
    // all over the room, so that nothing of it is in the caches
    let scattered = || (0..CHANGES).map(|number| members[number * 7919 % SESSIONS].session());
    let large = || someone.room("large").sessions();
    let (mut came, mut went) = (Times::default(), Times::default());
    let mut last = large();
    beside(&|| walk(large()), || {
        for session in scattered() {
            went.time(|| {
                session.leave("large");
                last = large();
            });
            came.time(|| {
                session.join("large");
                last = large();
            });
        }
    });
    came.print("room of 100,000: join, and a snapshot");
    went.print("room of 100,000: leave, and a snapshot");

    someone.join("small");
    let churn = || {
        for session in scattered() {
            session.leave("large");
            black_box(large());
            session.join("large");
            black_box(large());
        }
    };
    let rest = || thread::sleep(Duration::from_millis(1));
    for (another, what) in [
        (&rest as &(dyn Fn() + Sync), "small room asked, beside a thread that does nothing"),
        (&churn, "small room asked, beside a room of 100,000 that changes"),
    ] {
        let mut asked = Times::default();
        beside(another, || {
            for _ in 0..CHANGES * 40 {
                asked.time(|| someone.room("small").sessions());
                // over a time in which the large room changes often
                (0..500).for_each(|_| std::hint::spin_loop());
            }
        });
        asked.print(what);
    }
}

/// Does something again and again in another thread.
fn beside(again: &(dyn Fn() + Sync), measured: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                again();
            }
        });
        measured();
        done.store(true, Ordering::Relaxed);
    });
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn time<T>(&mut self, action: impl FnOnce() -> T) {
        let start = Instant::now();
        black_box(action());
        self.0.push(start.elapsed());
    }

    fn print(mut self, what: &str) {
        self.0.sort();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let mean = micros(self.0.iter().sum::<Duration>()) / self.0.len() as f64;
        let at = |share: f64| micros(self.0[(self.0.len() as f64 * share) as usize]);
        let max = self.0.last().copied().map_or(0., micros);
        println!("{what:<58}{mean:>9.2}{:>9.2}{:>9.2}{max:>11.2}", at(0.5), at(0.99));
    }
}
