//! The tables and the picture.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use compare::chart::{self, Group, Heading};
use compare::stats::{Spread, spread};
use serde::{Deserialize, Serialize};

use crate::system::{Kernel, Limits};
use crate::{memory, tcp};

/// The best published figures for idle WebSocket connections of one machine: the number of them, and bytes of process
/// memory for each.
const PUBLISHED: [(&str, f64); 2] = [("published-200k", 10_900.0), ("published-1m", 11_300.0)];

const HEADING: Heading = Heading {
    title: "Memory per idle session, and the time of one broadcast to all",
    head: "Memory per idle session, and the time of one broadcast to all",
    below: "Less is better. The number of sessions is in the name; 1m is a million, over an in-memory transport.",
};

/// The contents of `results.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub limits: Limits,
    pub load_before: String,
    pub load_after: String,
    pub tcp: Vec<tcp::Found>,
    pub memory: Option<memory::Found>,
    /// Bytes of the in-memory transport with its clients, for each session.
    pub transport_bytes: f64,
}

/// The load of the machine over the last minute.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

impl Results {
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes `results.json` and `results.md`.
    pub fn write(&self, out: &Path) -> Result<()> {
        fs::create_dir_all(out)?;
        fs::write(out.join("results.json"), serde_json::to_string_pretty(self)?)?;
        Ok(fs::write(out.join("results.md"), self.markdown())?)
    }

    pub fn markdown(&self) -> String {
        let mut columns: Vec<Column> = self.tcp.iter().map(Column::of_tcp).collect();
        columns.extend(self.memory.as_ref().map(|found| Column::of_memory(found, self.transport_bytes)));
        let mut text = String::from("|");
        columns.iter().for_each(|column| text += &format!(" | {}", column.title));
        text += " |\n|---";
        columns.iter().for_each(|_| text += "|---:");
        text += "|\n";
        for (at, name) in ROWS.iter().enumerate() {
            let cells: Vec<&str> = columns.iter().map(|column| column.cells[at].as_str()).collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        for found in self.tcp.iter().filter(|found| !found.kernel_idle.caches.is_empty()) {
            let _ =
                write!(text, "\nCaches of the kernel, {} connections, bytes per connection:", group(found.sessions));
            for ((name, before), (_, idle)) in found.kernel_before.caches.iter().zip(&found.kernel_idle.caches) {
                let bytes = per_session(*idle, *before, found.sessions);
                let _ = write!(text, " `{name}` {bytes:.0},");
            }
            text.pop();
            text += ".\n";
        }
        let Limits { open_files, all_files, ports, backlog, tracked, tcp_pages, memory_kib } = &self.limits;
        let (first, last) = ports;
        let _ = write!(
            text,
            "\n{:.0} GiB of memory; {open_files} open files for a process, {all_files} for all; ports {first} to {last}; \
             backlog {backlog}; {tcp_pages} pages for the buffers of TCP; ",
            *memory_kib as f64 / 1048576.0
        );
        let _ = match tracked {
            Some((count, most)) => write!(text, "the firewall follows {count} connections of at most {most}. "),
            None => write!(text, "no firewall follows connections. "),
        };
        let _ = writeln!(text, "Load average {} before, {} after.", self.load_before, self.load_after);
        text
    }

    pub fn draw(&self, file: &Path) -> Result<()> {
        let name = |sessions: usize| match sessions {
            1_000_000.. => format!("ours-{}m", sessions / 1_000_000),
            1000.. => format!("ours-{}k", sessions / 1000),
            _ => format!("ours-{sessions}"),
        };
        let one = |value: f64| Spread { median: value, min: value, max: value };
        let kib = |bytes: f64| one(bytes / 1024.0);
        let (mut process, mut kernel, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for found in &self.tcp {
            let (name, sessions) = (name(found.sessions), found.sessions);
            process.push((name.clone(), kib(per_session(found.idle.pss, found.before.pss, sessions))));
            let (idle, before) = (found.kernel_idle.of_sockets(), found.kernel_before.of_sockets());
            kernel.push((name.clone(), kib(per_session(idle, before, sessions))));
            times.extend(spread(found.broadcasts.iter().map(|it| it.heard_seconds)).map(|it| (name, it)));
        }
        if let Some(found) = &self.memory {
            let bytes = per_session(found.idle.pss, found.before.pss, found.sessions) - self.transport_bytes;
            process.push((name(found.sessions), kib(bytes)));
            let heard = spread(found.broadcasts.iter().map(|it| it.heard_seconds));
            times.extend(heard.map(|it| (name(found.sessions), it)));
        }
        process.extend(PUBLISHED.map(|(name, bytes)| (name.to_owned(), kib(bytes))));
        let group = |title: &str, unit, bars: Vec<(String, Spread)>| {
            let longest = bars.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max) * 1.1;
            Group { title: title.to_owned(), unit, longest, base: None, bars }
        };
        let groups = [
            group("Process memory of the server", " KiB", process),
            group("Kernel memory, both ends of a connection", " KiB", kernel),
            group("One broadcast, until the last client has it", " s", times),
        ];
        let about = "2 cores; clients on the same machine. docs/many.md says how it was measured.";
        Ok(fs::write(file, chart::draw(HEADING, &groups, about) + "\n")?)
    }
}

const ROWS: [&str; 16] = [
    "server processes",
    "sessions of a process",
    "process memory, MiB (PSS)",
    "the same, resident",
    "process memory per session, bytes",
    "of these the transport with the clients",
    "process memory per session after the broadcasts, bytes",
    "kernel memory per connection, both ends, bytes",
    "growth of all slabs, with that of other work",
    "seconds to open all",
    "CPU of the servers per opened session, µs",
    "one broadcast to all: seconds until it was queued",
    "seconds until the last client had it",
    "CPU of the servers per delivery, µs",
    "CPU of the servers at rest, share of a core",
    "pings at rest, per second",
];

struct Column {
    title: String,
    cells: [String; ROWS.len()],
}

impl Column {
    fn of_tcp(found: &tcp::Found) -> Self {
        let sessions = found.sessions;
        let kernel = |read: fn(&Kernel) -> u64| {
            format!("{:.0}", per_session(read(&found.kernel_idle), read(&found.kernel_before), sessions))
        };
        let cells = [
            found.servers.to_string(),
            if found.least == found.most {
                group(found.most)
            } else {
                format!("{}–{}", group(found.least), group(found.most))
            },
            mib(found.idle.pss),
            mib(found.idle.rss),
            format!("{:.0}", per_session(found.idle.pss, found.before.pss, sessions)),
            "–".to_owned(),
            format!("{:.0}", per_session(found.after_broadcasts.pss, found.before.pss, sessions)),
            kernel(Kernel::of_sockets),
            kernel(|kernel| kernel.slab),
            format!("{:.1}", found.open_seconds),
            format!("{:.0}", found.open_cpu_seconds * 1e6 / sessions as f64),
            "–".to_owned(),
            range(found.broadcasts.iter().map(|it| it.heard_seconds), 2),
            range(found.broadcasts.iter().map(|it| it.cpu_seconds * 1e6 / sessions as f64), 1),
            format!("{:.1} %", found.rest_cpu_seconds / found.rest_seconds * 100.0),
            format!("{:.0}", found.rest_pings as f64 / found.rest_seconds),
        ];
        Self { title: format!("{}, TCP", group(sessions)), cells }
    }

    fn of_memory(found: &memory::Found, transport_bytes: f64) -> Self {
        let sessions = found.sessions;
        let cells = [
            "1".to_owned(),
            group(sessions),
            mib(found.idle.pss),
            mib(found.idle.rss),
            format!("{:.0}", per_session(found.idle.pss, found.before.pss, sessions)),
            format!("{transport_bytes:.0}"),
            format!("{:.0}", per_session(found.after_broadcasts.pss, found.before.pss, sessions)),
            "–".to_owned(),
            "–".to_owned(),
            format!("{:.1}", found.open_seconds),
            format!("{:.0}", found.open_cpu_seconds * 1e6 / sessions as f64),
            range(found.broadcasts.iter().map(|it| it.queued_seconds), 2),
            range(found.broadcasts.iter().map(|it| it.heard_seconds), 2),
            range(found.broadcasts.iter().map(|it| it.cpu_seconds * 1e6 / sessions as f64), 1),
            format!("{:.1} %", found.rest_cpu_seconds / found.rest_seconds * 100.0),
            format!("{:.0}", found.rest_pings as f64 / found.rest_seconds),
        ];
        Self { title: format!("{}, in memory", group(sessions)), cells }
    }
}

/// Bytes for each session of a growth in KiB, which may be negative.
fn per_session(after: u64, before: u64, sessions: usize) -> f64 {
    (after as f64 - before as f64) * 1024.0 / sessions as f64
}

fn mib(kib: u64) -> String {
    format!("{:.0}", kib as f64 / 1024.0)
}

/// The median, and the lowest and the highest if there are several.
fn range(values: impl Iterator<Item = f64>, digits: usize) -> String {
    match spread(values) {
        None => "–".to_owned(),
        Some(Spread { median, min, max }) if min == max => format!("{median:.digits$}"),
        Some(Spread { median, min, max }) => format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"),
    }
}

/// A number with its thousands apart.
pub fn group(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([7, 1000, 304_000, 1_000_000].map(group), ["7", "1,000", "304,000", "1,000,000"]);
    }

    #[test]
    fn a_range_has_its_median_first() {
        assert_eq!(range([3.0, 1.0, 2.0].into_iter(), 1), "2.0 (1.0–3.0)");
        assert_eq!(range([1.0].into_iter(), 2), "1.00");
    }

    #[test]
    fn growth_is_divided_among_sessions() {
        assert_eq!(per_session(30, 10, 10), 2048.0);
        assert_eq!(per_session(10, 30, 10), -2048.0);
    }

    #[test]
    fn results_without_runs_have_a_table() {
        assert!(Results::default().markdown().contains("process memory per session"));
    }
}
