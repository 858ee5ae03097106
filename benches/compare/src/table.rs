//! What all runs found, one Markdown table per workload. Pure.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::load::{Flow, Memory, Outcome};
use crate::stats::{Spread, spread};
use crate::workload::{Work, Workload};

/// One round of one server under one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub workload: String,
    pub server: String,
    pub round: usize,
    pub finding: Finding,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Ok(Outcome),
    Error(String),
}

impl Run {
    /// What the comparison is about, lower is better: CPU microseconds per unit, or KiB per idle connection.
    pub fn headline(&self) -> Option<f64> {
        match self.outcome()? {
            Outcome::Flow(flow) => Some(flow.server_cpu_seconds * 1e6 / flow.units as f64),
            Outcome::Memory(memory) => Some(kib_per_connection(memory, memory.idle_kib)),
        }
    }

    fn outcome(&self) -> Option<&Outcome> {
        match &self.finding {
            Finding::Ok(outcome) => Some(outcome),
            Finding::Error(_) => None,
        }
    }

    fn flow<T>(&self, read: impl Fn(&Flow) -> T) -> Option<T> {
        match self.outcome()? {
            Outcome::Flow(flow) => Some(read(flow)),
            Outcome::Memory(_) => None,
        }
    }

    fn memory<T>(&self, read: impl Fn(&Memory) -> T) -> Option<T> {
        match self.outcome()? {
            Outcome::Memory(memory) => Some(read(memory)),
            Outcome::Flow(_) => None,
        }
    }
}

fn kib_per_connection(memory: &Memory, resident_kib: u64) -> f64 {
    (resident_kib as f64 - memory.before_kib as f64) / memory.connections as f64
}

/// The table of one workload: a row per server in the order given, ratios against some of them, errors below.
pub fn markdown(workload: &Workload, servers: &[String], against: &[String], runs: &[Run]) -> String {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.workload == workload.name).collect();
    let against: Vec<&String> = against.iter().filter(|name| runs.iter().any(|run| run.server == **name)).collect();

    let mut head = vec!["server".to_owned()];
    head.push(match workload.work {
        Work::Idle => "KiB per connection".to_owned(),
        _ => format!("CPU µs per {}", workload.unit()),
    });
    head.extend(against.iter().map(|name| format!("ratio to {name}")));
    let details: &[&str] = match workload.work {
        Work::Idle => &["KiB after one echo", "KiB before any", "connections", "compressed", "at rest"],
        _ => &["per second", "p50 µs", "p99 µs", "server core", "load core", "server waited for a core"],
    };
    head.extend(details.iter().map(|detail| (*detail).to_owned()));

    let mut out = format!("### {}: {}\n\n", workload.name, workload.title);
    put_row(&mut out, &head);
    put_row(&mut out, &head.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect::<Vec<_>>());
    for server in servers {
        let mine: Vec<&Run> = runs.iter().copied().filter(|run| run.server == *server).collect();
        if mine.is_empty() {
            continue;
        }
        let mut row = vec![label(server, &mine)];
        row.push(cell(spread(mine.iter().filter_map(|run| run.headline())), significant));
        for other in &against {
            row.push(cell(spread(ratios(&mine, &runs, other)), |ratio| format!("{ratio:.2}")));
        }
        row.extend(match workload.work {
            Work::Idle => memory_details(&mine),
            _ => flow_details(&mine),
        });
        put_row(&mut out, &row);
    }
    for run in &runs {
        if let Finding::Error(error) = &run.finding {
            let _ = write!(out, "\n- {}, round {}: {}", run.server, run.round + 1, error.replace('\n', " "));
        }
    }
    out.push('\n');
    out
}

/// Round by round, so that what disturbs a whole round cancels out.
pub fn ratios(mine: &[&Run], all: &[&Run], other: &str) -> Vec<f64> {
    let of_other = |round| all.iter().find(|run| run.server == other && run.round == round)?.headline();
    mine.iter()
        .filter_map(|run| Some(run.headline()? / of_other(run.round)?))
        .filter(|ratio| ratio.is_finite())
        .collect()
}

fn label(server: &str, runs: &[&Run]) -> String {
    match runs.iter().filter(|run| run.outcome().is_none()).count() {
        0 => server.to_owned(),
        failed => format!("{server} (**{failed} of {} rounds failed**)", runs.len()),
    }
}

fn flow_details(runs: &[&Run]) -> Vec<String> {
    let median = |read: fn(&Flow) -> f64, show: fn(f64) -> String| {
        spread(runs.iter().filter_map(|run| run.flow(read))).map_or("-".to_owned(), |spread| show(spread.median))
    };
    vec![
        median(|flow| flow.units as f64 / flow.seconds, |rate| thousands(rate.round() as u64)),
        median(|flow| flow.p50_us, significant),
        median(|flow| flow.p99_us, significant),
        median(|flow| flow.server_cpu_seconds / flow.seconds, percent),
        median(|flow| flow.load_cpu_seconds / flow.seconds, percent),
        median(|flow| flow.server_waited_seconds / flow.seconds, percent),
    ]
}

fn memory_details(runs: &[&Run]) -> Vec<String> {
    let all = |read: fn(&Memory) -> f64| spread(runs.iter().filter_map(|run| run.memory(read)));
    let median = |read: fn(&Memory) -> u64| match all_u64(runs, read) {
        Some(value) => thousands(value),
        None => "-".to_owned(),
    };
    let rested = runs.iter().filter_map(|run| run.memory(|memory| memory.settled)).all(|settled| settled);
    vec![
        cell(all(|memory| kib_per_connection(memory, memory.after_echo_kib)), significant),
        median(|memory| memory.before_kib),
        median(|memory| memory.connections as u64),
        median(|memory| memory.deflated as u64),
        if rested { "yes" } else { "**no**" }.to_owned(),
    ]
}

fn all_u64(runs: &[&Run], read: fn(&Memory) -> u64) -> Option<u64> {
    Some(spread(runs.iter().filter_map(|run| run.memory(read)).map(|value| value as f64))?.median as u64)
}

/// The median, and the spread when there is one.
pub fn cell(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    let Some(Spread { median, min, max }) = spread else { return "-".to_owned() };
    if min == max {
        return show(median);
    }
    format!("{} ({}–{})", show(median), show(min), show(max))
}

/// Four digits at most, three after the point at most.
pub fn significant(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One line of a table.
pub fn put_row(out: &mut String, cells: &[impl AsRef<str>]) {
    for cell in cells {
        let _ = write!(out, "| {} ", cell.as_ref());
    }
    out.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(server: &str, round: usize, cpu_us: f64) -> Run {
        let flow = Flow {
            units: 1_000_000,
            seconds: 2.0,
            server_cpu_seconds: cpu_us,
            server_waited_seconds: 0.1,
            load_cpu_seconds: 1.0,
            p50_us: 310.0,
            p99_us: 1234.5,
        };
        let finding = Finding::Ok(Outcome::Flow(flow));
        Run { workload: "e100".to_owned(), server: server.to_owned(), round, finding }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn row<'a>(table: &'a str, server: &str) -> &'a str {
        table.lines().find(|line| line.starts_with(&format!("| {server} "))).expect("a row")
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The second round is twice as slow for all.
        let runs = [flow("raw", 0, 2.0), flow("ours", 0, 3.0), flow("ours", 1, 6.0), flow("raw", 1, 4.0)];
        let workload = Workload::named("e100").unwrap();
        let table = markdown(workload, &names(&["raw", "ours"]), &names(&["raw"]), &runs);
        assert_eq!(
            row(&table, "ours"),
            "| ours | 4.500 (3.000–6.000) | 1.50 | 500,000 | 310.0 | 1234 | 225 % | 50 % | 5 % |"
        );
        assert!(row(&table, "raw").starts_with("| raw | 3.000 (2.000–4.000) | 1.00 | 500,000"));
    }

    #[test]
    fn failed_rounds_are_named() {
        let mut failed = flow("ours", 1, 0.0);
        failed.finding = Finding::Error("the server closed the connection".to_owned());
        let workload = Workload::named("e100").unwrap();
        let table = markdown(workload, &names(&["ours"]), &names(&["raw"]), &[flow("ours", 0, 3.0), failed]);
        assert!(row(&table, "ours").starts_with("| ours (**1 of 2 rounds failed**) | 3.000 | 500,000"), "{table}");
        assert!(table.ends_with("\n- ours, round 2: the server closed the connection\n"), "{table}");
    }

    #[test]
    fn memory_is_growth_per_connection() {
        let memory = Memory {
            connections: 1000,
            deflated: 7,
            before_kib: 2000,
            idle_kib: 3000,
            after_echo_kib: 4500,
            settled: true,
        };
        let finding = Finding::Ok(Outcome::Memory(memory));
        let runs = [Run { workload: "idle".to_owned(), server: "ours".to_owned(), round: 0, finding }];
        let table = markdown(Workload::named("idle").unwrap(), &names(&["ours"]), &[], &runs);
        assert_eq!(row(&table, "ours"), "| ours | 1.000 | 2.500 | 2,000 | 1,000 | 7 | yes |");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([3.10549, 310.54, 12_345.6].map(significant), ["3.105", "310.5", "12346"]);
        assert_eq!([5, 999, 1000, 1_234_567].map(thousands), ["5", "999", "1,000", "1,234,567"]);
    }
}
