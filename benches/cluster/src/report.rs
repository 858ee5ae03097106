//! What all runs found, as Markdown. Pure.

use std::fmt::Write;

use compare::stats::{Spread, spread};
use compare::table::{cell, percent, put_row, significant, thousands};

use crate::figures::{Finding, Run, flows, joins};
use crate::layout::{Load, Placement};
use crate::measure::{Cost, Flow, Joins, Latency};

pub fn markdown(runs: &[Run]) -> String {
    let mut targets: Vec<&str> = Vec::new();
    let mut loads: Vec<Load> = Vec::new();
    for run in runs {
        if !targets.contains(&run.target.as_str()) {
            targets.push(&run.target);
        }
        if let Some((load, _)) = run.load.filter(|(load, _)| !loads.contains(load)) {
            loads.push(load);
        }
    }
    let mut out = String::new();
    for load in loads {
        let Load { sessions, rooms } = load;
        let _ = writeln!(out, "### {}: {sessions} sessions in {rooms} rooms of {}\n", load.name(), load.members());
        throughput(&mut out, runs, &targets, load);
        latency(&mut out, runs, &targets, load);
        placements(&mut out, runs, &targets, load);
    }
    joining(&mut out, runs, &targets);
    let errors = runs.iter().filter_map(|run| match &run.finding {
        Finding::Error(error) => Some(format!("- {}: {}\n", run.name(), error.replace('\n', " "))),
        _ => None,
    });
    out.extend(errors);
    out
}

fn head(out: &mut String, title: &str, columns: &[&str], names: usize) {
    let _ = writeln!(out, "{title}\n");
    put_row(out, columns);
    let rule = |(at, _)| if at < names { "---" } else { "---:" };
    put_row(out, &columns.iter().enumerate().map(rule).collect::<Vec<_>>());
}

fn of<T>(found: &[T], read: impl Fn(&T) -> f64) -> Option<Spread> {
    spread(found.iter().map(read))
}

fn rate(spread: Option<Spread>) -> String {
    cell(spread, |value| thousands(value.round() as u64))
}

fn number(spread: Option<Spread>) -> String {
    cell(spread, significant)
}

fn throughput(out: &mut String, runs: &[Run], targets: &[&str], load: Load) {
    let columns = [
        "target",
        "deliveries/s",
        "local/s",
        "remote/s",
        "deliveries per CPU second",
        "node CPU µs per delivery",
        "engine CPU µs per delivery",
        "node CPU µs per remote delivery",
        "the same, beside `gathered`",
        "engine CPU µs per remote delivery",
        "engine commands per message",
        "server core",
        "load core",
        "drained after s",
        "lost, doubled, disordered",
    ];
    head(out, "Closed loop:", &columns, 1);
    for target in targets {
        // one node alone has no `spread`
        let [mut found, gathered, alone] = [Placement::Spread, Placement::Gathered, Placement::Alone]
            .map(|placement| flows(runs, target, load, placement).collect::<Vec<_>>());
        if found.is_empty() {
            found = flows(runs, target, load, Placement::AloneFull).collect();
        }
        if found.is_empty() {
            continue;
        }
        let beside = |local: &[(usize, &Flow)]| {
            let pairs = found.iter().filter(|(_, flow)| flow.remote > 0).filter_map(|(round, flow)| {
                let (_, local) = local.iter().find(|(other, _)| other == round)?;
                Some(flow.node_us_per_remote(local))
            });
            spread(pairs)
        };
        let per_second = |count: fn(&Flow) -> u64| rate(of(&found, |(_, flow)| count(flow) as f64 / flow.seconds));
        let share = |of_core: fn(&Flow) -> f64| {
            of(&found, |(_, flow)| of_core(flow)).map_or("-".to_owned(), |share| percent(share.median))
        };
        let sum = |fault: fn(&Flow) -> u64| found.iter().map(|(_, flow)| fault(flow)).sum::<u64>();
        let has_remote = found.iter().any(|(_, flow)| flow.remote > 0);
        let engine_remote = has_remote.then(|| of(&found, |(_, flow)| flow.engine_us_per_remote())).flatten();
        let row = [
            (*target).to_owned(),
            per_second(Flow::deliveries),
            per_second(|flow| flow.local),
            per_second(|flow| flow.remote),
            rate(of(&found, |(_, flow)| flow.deliveries() as f64 / flow.seconds / flow.busy_cores())),
            number(of(&found, |(_, flow)| flow.node_us_per_message() / flow.members as f64)),
            number(of(&found, |(_, flow)| flow.engine_us_per_message() / flow.members as f64)),
            number(beside(&alone)),
            number(beside(&gathered)),
            number(engine_remote),
            number(of(&found, |(_, flow)| flow.commands_per_message())),
            share(Flow::busy_cores),
            share(|flow| flow.load_cpu_seconds / flow.seconds),
            number(of(&found, |(_, flow)| flow.drain_seconds)),
            format!(
                "{}, {}, {}",
                sum(|flow| flow.faults.lost),
                sum(|flow| flow.faults.duplicates),
                sum(|flow| flow.faults.disordered)
            ),
        ];
        put_row(out, &row);
    }
    out.push('\n');
}

fn latency(out: &mut String, runs: &[Run], targets: &[&str], load: Load) {
    let found = |target| -> Vec<&Latency> {
        flows(runs, target, load, Placement::Spread).filter_map(|(_, flow)| flow.latency.as_ref()).collect()
    };
    if targets.iter().all(|target| found(target).is_empty()) {
        return;
    }
    let columns = [
        "target",
        "messages/s",
        "p50 µs node to node",
        "p99 µs node to node",
        "p50 µs on one node",
        "p99 µs on one node",
        "sent too late by µs, at most",
        "lost, doubled, disordered",
    ];
    head(out, "Open loop at half of that rate:", &columns, 1);
    for target in targets {
        let found = found(target);
        if found.is_empty() {
            continue;
        }
        let sum = |fault: fn(&Latency) -> u64| found.iter().map(|latency| fault(latency)).sum::<u64>();
        let row = [
            (*target).to_owned(),
            rate(of(&found, |latency| latency.messages_per_second)),
            number(of(&found, |latency| latency.remote.p50)),
            number(of(&found, |latency| latency.remote.p99)),
            number(of(&found, |latency| latency.local.p50)),
            number(of(&found, |latency| latency.local.p99)),
            number(of(&found, |latency| latency.latest_us)),
            format!(
                "{}, {}, {}",
                sum(|latency| latency.faults.lost),
                sum(|latency| latency.faults.duplicates),
                sum(|latency| latency.faults.disordered)
            ),
        ];
        put_row(out, &row);
    }
    out.push('\n');
}

fn placements(out: &mut String, runs: &[Run], targets: &[&str], load: Load) {
    let columns = [
        "target",
        "placement",
        "members",
        "deliveries/s",
        "first node",
        "each other node",
        "engine",
        "bytes from the engine",
        "server core",
        "expected",
        "delivered",
    ];
    head(out, "CPU µs per message, by placement:", &columns, 2);
    for target in targets {
        for placement in Placement::ALL {
            let found: Vec<&Flow> = flows(runs, target, load, placement).map(|(_, flow)| flow).collect();
            let Some(first) = found.first() else { continue };
            let row = [
                (*target).to_owned(),
                placement.name().to_owned(),
                first.members.to_string(),
                rate(of(&found, |flow| flow.deliveries() as f64 / flow.seconds)),
                number(of(&found, |flow| flow.first_node_us_per_message())),
                number(spread(found.iter().filter_map(|flow| flow.other_node_us_per_message()))),
                number(of(&found, |flow| flow.engine_us_per_message())),
                number(of(&found, |flow| flow.engine_bytes_per_message())),
                of(&found, |flow| flow.busy_cores()).map_or("-".to_owned(), |busy| percent(busy.median)),
                thousands(found.iter().map(|flow| flow.expected).sum()),
                thousands(found.iter().map(|flow| flow.deliveries()).sum()),
            ];
            put_row(out, &row);
        }
    }
    out.push('\n');
}

fn joining(out: &mut String, runs: &[Run], targets: &[&str]) {
    if targets.iter().all(|target| joins(runs, target).next().is_none()) {
        return;
    }
    out.push_str("### Joins\n\n");
    let columns = [
        "target",
        "what",
        "how many",
        "node CPU ms",
        "engine CPU ms",
        "engine commands",
        "seconds",
        "node CPU µs each",
        "KiB per session",
    ];
    head(out, "Sessions, and rooms that they join:", &columns, 2);
    for target in targets {
        let found: Vec<&Joins> = joins(runs, target).collect();
        let Some(first) = found.first() else { continue };
        let joined = if first.by_opening { "joins (sessions open and close)" } else { "joins (by message)" };
        for (what, count, cost) in [
            ("sessions open", first.sessions, (|joins: &Joins| &joins.opened) as fn(&Joins) -> &Cost),
            (joined, first.joins, |joins: &Joins| &joins.joined),
        ] {
            let row = [
                (*target).to_owned(),
                what.to_owned(),
                thousands(count as u64),
                rate(of(&found, |joins| cost(joins).node_cpu_seconds * 1e3)),
                rate(of(&found, |joins| cost(joins).engine_cpu_seconds * 1e3)),
                rate(of(&found, |joins| cost(joins).engine.total() as f64)),
                number(of(&found, |joins| cost(joins).seconds)),
                number(of(&found, |joins| cost(joins).node_cpu_seconds * 1e6 / count as f64)),
                if what == "sessions open" { number(of(&found, |joins| joins.kib_per_session)) } else { String::new() },
            ];
            put_row(out, &row);
        }
    }
    out.push('\n');
}
