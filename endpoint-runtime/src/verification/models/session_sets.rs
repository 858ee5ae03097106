//! The sessions of an endpoint and of a room: they come, go and end while others take snapshots and a shutdown begins.

use std::sync::Arc;

use loom::thread;

use super::check;
use crate::config::Limits;
use crate::session::tests::session_of;
use crate::session::{OpenGuard, OpenSessions, OpenSet, Session};
use endpoint_wire::close::{CloseCode, CloseReason};

fn endpoint() -> Arc<OpenSet> {
    Arc::new(OpenSet::new("/", "Model", Limits::default()))
}

/// A session that is in the set until its place is dropped.
fn entered(endpoint: &Arc<OpenSet>) -> (Session, OpenGuard) {
    let session = session_of(endpoint);
    let place = OpenGuard::of(&session);
    place.take();
    (session, place)
}

/// How often a session is in a snapshot.
fn times(session: &Session, snapshot: &OpenSessions) -> usize {
    snapshot.addressed().filter(|other| *other == session).count()
}

/// A snapshot has those who stay once, and the others at most once.
fn looks_right(snapshot: &OpenSessions, stays: &[&Session], others: &[&Session]) {
    assert!(stays.iter().all(|session| times(session, snapshot) == 1));
    assert!(others.iter().all(|session| times(session, snapshot) <= 1));
    assert!(snapshot.addressed().count() <= stays.len() + others.len());
}

#[test]
fn closing_the_endpoint_closes_present_and_later_sessions() {
    check(None, || {
        let endpoint = endpoint();
        let (there, _place) = entered(&endpoint);
        let late = session_of(&endpoint);
        let coming = thread::spawn({
            let place = OpenGuard::of(&late);
            move || {
                place.take();
                place
            }
        });
        let closing = thread::spawn({
            let endpoint = endpoint.clone();
            move || endpoint.close(CloseReason::from(CloseCode::GoingAway))
        });
        looks_right(&there.open_sessions(), &[&there], &[&late]);
        let _late_place = coming.join().unwrap();
        closing.join().unwrap();
        assert!(!there.is_open() && !late.is_open());
    });
}

#[test]
fn snapshot_has_remaining_sessions_once_while_others_come_and_go() {
    check(Some(3), || {
        let endpoint = endpoint();
        let ([first, goes, last], [_first, leaving, _last]) = {
            let all = [(); 3].map(|()| entered(&endpoint));
            let sessions = all.each_ref().map(|(session, _)| session.clone());
            (sessions, all.map(|(_, place)| place))
        };
        let comes = session_of(&endpoint);
        let coming = thread::spawn({
            let place = OpenGuard::of(&comes);
            move || {
                place.take();
                place
            }
        });
        let going = thread::spawn({
            let goes = goes.clone();
            move || {
                goes.unregister();
                drop(leaving);
            }
        });
        let before = first.open_sessions();
        looks_right(&before, &[&first, &last], &[&goes, &comes]);
        let _place = coming.join().unwrap();
        going.join().unwrap();
        // what was handed out does not change
        looks_right(&before, &[&first, &last], &[&goes, &comes]);
        let after = first.open_sessions();
        looks_right(&after, &[&first, &last, &comes], &[]);
    });
}

#[test]
fn room_keeps_a_session_that_joins_while_the_last_one_leaves() {
    check(None, || {
        let endpoint = endpoint();
        let (leaves, joins) = (session_of(&endpoint), session_of(&endpoint));
        assert!(leaves.join("room").is_member());
        let leaving = thread::spawn({
            let leaves = leaves.clone();
            move || assert!(leaves.leave("room"))
        });
        let joining = thread::spawn({
            let joins = joins.clone();
            move || assert!(joins.join("room").is_member())
        });
        looks_right(&joins.room("room").sessions(), &[], &[&leaves, &joins]);
        leaving.join().unwrap();
        joining.join().unwrap();
        looks_right(&leaves.room("room").sessions(), &[&joins], &[]);
        assert!(joins.leave("room"));
        assert!(endpoint.has_no_groups());
    });
}

#[test]
fn session_that_ends_while_it_joins_is_in_no_room() {
    check(None, || {
        let endpoint = endpoint();
        let (stays, ends) = (session_of(&endpoint), session_of(&endpoint));
        assert!(stays.join("room").is_member());
        let joining = thread::spawn({
            let ends = ends.clone();
            move || ends.join("room")
        });
        ends.close();
        ends.unregister();
        joining.join().unwrap();
        looks_right(&stays.room("room").sessions(), &[&stays], &[]);
        assert!(!ends.room("room").contains(&ends));
    });
}
