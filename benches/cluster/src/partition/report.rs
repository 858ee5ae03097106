//! What a run has shown, as Markdown, and what of it is a failure. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use compare::table::{put_row, thousands};

use super::people::People;
use super::record::{NodeRun, Stretch};
use super::watch::{Counts, Look, Reading};
use super::world::{Event, NAMES, World};

/// A node that does not show a sign of life is noticed by then.
const NOTICED: f64 = 6.0;
/// Presence and membership are right by then.
const RIGHT: f64 = 10.0;
/// Lines that were said this shortly before a fault may be lost by it.
const BEFORE: Duration = Duration::from_secs(2);

pub struct Found<'a> {
    pub world: World,
    pub membership: Vec<Look>,
    pub readings: Vec<Reading>,
    /// By the node that was asked.
    pub presence: Vec<Vec<Look>>,
    pub people: &'a People,
}

/// A part of the run, from shortly before a fault.
struct Part {
    name: &'static str,
    from: Duration,
    until: Duration,
}

pub fn markdown(engine: &str, found: &Found<'_>) -> (String, Vec<String>) {
    let (mut out, mut failures) = (String::new(), Vec::new());
    let record = &found.people.record;
    let _ = writeln!(out, "### {engine}\n");
    recovery(&mut out, &mut failures, found);
    losses(&mut out, &mut failures, found);
    let broken = record.ended_on_live_nodes();
    let _ = writeln!(
        out,
        "{} lines in {} sessions. Received twice: {}. Out of order: {}. Sessions that ended on a live node: {}. \
         Duplicates that the nodes dropped: {}.",
        thousands(record.lines() as u64),
        thousands(found.people.len() as u64),
        record.duplicates,
        record.disordered,
        broken.len(),
        duplicates(found),
    );
    if record.duplicates + record.disordered > 0 {
        failures.push(record.first_fault.clone().unwrap_or_default());
    }
    if let Some(broken) = broken.first() {
        failures.push(format!("a session ended: {broken}"));
    }
    let open = found.people.open();
    if open < found.people.len() {
        failures.push(format!("only {open} sessions are open at the end"));
    }
    (out, failures)
}

/// How long after each event membership and presence were right, and stayed so until the next event.
fn recovery(out: &mut String, failures: &mut Vec<String>, found: &Found<'_>) {
    head(out, &["second", "event", "membership right after s", "presence right after s"], &[0, 2, 3]);
    let events = &found.world.events;
    let begin = events.first().map_or(Duration::ZERO, |(_, begin)| *begin);
    for (at, (event, when)) in events.iter().enumerate().filter(|(_, (event, _))| *event != Event::End) {
        // nothing is broken at the end
        let epochs = if events.get(at + 2).is_none() { at + 1..=at + 2 } else { at + 1..=at + 1 };
        let settled = |looks: &[Look]| {
            let looks: Vec<&Look> = looks.iter().filter(|look| epochs.contains(&look.epoch)).collect();
            let wrong = looks.iter().rposition(|look| look.wrong.is_some());
            let first = looks.get(wrong.map_or(0, |wrong| wrong + 1));
            (first.map(|look| (look.when - *when).as_secs_f64()), wrong.and_then(|wrong| looks[wrong].wrong.clone()))
        };
        let membership = settled(&found.membership);
        let asked = found.presence.iter().filter(|looks| looks.iter().any(|look| epochs.contains(&look.epoch)));
        let presence: Vec<_> = asked.map(|looks| settled(looks)).collect();
        let presence_right =
            presence.iter().map(|(right, _)| *right).reduce(|one, other| Some(one?.max(other?))).flatten();
        let presence_wrong = presence.iter().find_map(|(right, wrong)| wrong.clone().filter(|_| right.is_none()));
        let limit = if matches!(event, Event::Kill(_) | Event::Cut(_)) { NOTICED } else { RIGHT };
        let mut check = |what: &str, right: Option<f64>, limit: f64, wrong: Option<String>| {
            if right.is_none_or(|right| right > limit) {
                let wrong = wrong.unwrap_or_default();
                failures.push(format!("after {}: {what} is right after {right:?} s; last: {wrong}", event.name()));
            }
        };
        // nodes may take five seconds to see that the engine is silent, and this stretch is no longer
        if *event != Event::StopEngine {
            check("membership", membership.0, limit, membership.1.clone());
            check("presence", presence_right, RIGHT, presence_wrong);
        }
        let seconds = |right: Option<f64>| right.map_or("-".to_owned(), |right| format!("{right:.1}"));
        let row = [
            format!("{:.0}", (*when - begin).as_secs_f64()),
            event.name(),
            seconds(membership.0),
            if *event == Event::StopEngine { "-".to_owned() } else { seconds(presence_right) },
        ];
        put_row(out, &row);
    }
    out.push('\n');
}

/// The lines that sessions missed, beside the counts of the nodes.
fn losses(out: &mut String, failures: &mut Vec<String>, found: &Found<'_>) {
    let columns = [
        "fault",
        "lines",
        "deliveries due",
        "missed",
        "node",
        "deliveries missed",
        "lines missed",
        "`lost` of this node",
        "`unsure` + `refused` of the others",
        "slowest delivery s",
    ];
    head(out, &columns, &[1, 2, 3, 5, 6, 7, 8, 9]);
    for part in parts(&found.world.events) {
        let stretch = found.people.record.stretch(part.from, part.until);
        let missed: u64 = stretch.missed.values().map(|missed| missed.deliveries).sum();
        let runs = runs(&found.readings, &part, &stretch);
        for (at, run) in runs.iter().enumerate() {
            let of = |run: NodeRun| grown(&found.readings, run, &part);
            let missed_here = stretch.missed.get(run).cloned().unwrap_or_default();
            let here = of(*run);
            let others: u64 = runs.iter().filter(|other| *other != run).map(|other| of(*other).unsent()).sum();
            if missed_here.lines() > here.lost + others {
                let from: Vec<_> = missed_here.lines.iter().map(|(from, lines)| (name(*from), lines.len())).collect();
                failures.push(format!(
                    "{}: node {} missed {} lines ({from:?}), and {} + {others} were counted",
                    part.name,
                    name(*run),
                    missed_here.lines(),
                    here.lost
                ));
            }
            let first = |text: String| if at == 0 { text } else { String::new() };
            let row = [
                first(part.name.to_owned()),
                first(thousands(stretch.lines)),
                first(thousands(stretch.expected)),
                first(thousands(missed)),
                name(*run),
                thousands(missed_here.deliveries),
                thousands(missed_here.lines()),
                thousands(here.lost),
                thousands(others),
                first(format!("{:.2}", stretch.slowest.as_secs_f64())),
            ];
            put_row(out, &row);
        }
        let Stretch { not_taken, died_with_node, missed_locally, .. } = stretch;
        if missed_locally > 0 {
            failures.push(format!("{}: {missed_locally} deliveries missed on the sender's own node", part.name));
        }
        if not_taken + died_with_node > 0 {
            eprintln!("{}: {not_taken} lines not taken, {died_with_node} deliveries died with their node", part.name);
        }
    }
    out.push('\n');
    let all = found.people.record.stretch(Duration::ZERO, Duration::MAX);
    let _ = writeln!(
        out,
        "Lines that a connection of the killed node had not delivered to it: {}. Deliveries of lines that it had taken \
         and not passed on: {}. Missed on the sender's own node: {}.",
        all.not_taken, all.died_with_node, all.missed_locally
    );
}

impl Counts {
    fn unsent(&self) -> u64 {
        self.unsure + self.refused
    }
}

fn parts(events: &[(Event, Duration)]) -> Vec<Part> {
    let mut parts = vec![Part { name: "none", from: Duration::ZERO, until: Duration::MAX }];
    for (event, when) in events {
        let name = match event {
            Event::Kill(_) => "a node is killed",
            Event::StopEngine => "the engine is restarted",
            Event::Cut(_) => "a node is cut off",
            _ => continue,
        };
        let from = when.saturating_sub(BEFORE);
        parts.last_mut().expect("there is one").until = from;
        parts.push(Part { name, from, until: Duration::MAX });
    }
    parts
}

/// The runs of nodes that were seen in a part, or missed something there.
fn runs(readings: &[Reading], part: &Part, stretch: &Stretch) -> Vec<NodeRun> {
    let seen = readings.iter().filter(|reading| (part.from..part.until).contains(&reading.when));
    let mut runs: Vec<NodeRun> = seen.map(|reading| reading.of).chain(stretch.missed.keys().copied()).collect();
    runs.sort();
    runs.dedup();
    runs
}

/// Counts of a run of a node in a part.
fn grown(readings: &[Reading], of: NodeRun, part: &Part) -> Counts {
    let by = |end: Duration| {
        let before = readings.iter().rfind(|reading| reading.of == of && reading.when < end);
        before.map(|reading| reading.health.counts).unwrap_or_default()
    };
    let (before, after) = (by(part.from), by(part.until));
    Counts {
        lost: after.lost - before.lost,
        refused: after.refused - before.refused,
        unsure: after.unsure - before.unsure,
        duplicates: after.duplicates - before.duplicates,
    }
}

/// The sum over all runs of nodes; says when each was counted.
fn duplicates(found: &Found<'_>) -> u64 {
    let begin = found.world.events.first().map_or(Duration::ZERO, |(_, begin)| *begin);
    let (mut last, mut sum) = (BTreeMap::new(), 0);
    for Reading { when, of, health } in &found.readings {
        let before = last.insert(*of, health.counts.duplicates).unwrap_or(0);
        let new = health.counts.duplicates - before;
        if new > 0 {
            let second = when.saturating_sub(begin).as_secs_f64();
            eprintln!("{second:6.1} s: node {} has dropped duplicates: {new}", name(*of));
        }
        sum += new;
    }
    sum
}

fn name(run: NodeRun) -> String {
    let again = if run.run > 0 { ", started again" } else { "" };
    format!("{}{again}", NAMES[run.node])
}

fn head(out: &mut String, columns: &[&str], numbers: &[usize]) {
    put_row(out, columns);
    let lines: Vec<_> = (0..columns.len()).map(|at| if numbers.contains(&at) { "--:" } else { "---" }).collect();
    put_row(out, &lines);
}
