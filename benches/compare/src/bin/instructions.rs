//! Instructions and system calls per message: each server under callgrind and under strace, at two numbers of messages,
//! so that in the difference its start and its end cancel out. What it finds does not depend on what else the machine
//! does.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use compare::bench::Bench;
use compare::callgrind::Profile;
use compare::load::{self, Outcome, Target};
use compare::process::{self, Cores, Process};
use compare::script::Echo;
use compare::servers::{Choice, Server, own_dir};
use compare::strace::Calls;
use compare::table;
use compare::workload::{Work, Workload};

const HELP: &str = "instructions: user instructions and system calls per message

  --workloads a,b     of: e100 p16 t1k b1k t16k b16k u16k t1m b1m fanout churn (e100,p16,t1k,b16k,fanout)
  --servers a,b       of: ours raw fastwebsockets tokio-websockets tungstenite axum (all)
  --server NAME=CMD   another server; {addr} is replaced by its address; it echoes at /ws; may be repeated
  --rooms             also list instructions per source file of each server
  --messages N        the larger number of messages (default: the workload's)
  --no-syscalls       callgrind only
  --server-core N     0
  --load-core N       1
  --out DIR           where instructions.md and the servers' logs go (target/results)
  --no-build          the servers are built already";

/// One of each sort.
const WORKLOADS: [&str; 5] = ["e100", "p16", "t1k", "b16k", "fanout"];

/// An echo's connections: fewer than the workload's own change nothing, and open sooner.
const ECHO_CONNECTIONS: usize = 20;
const FAN_OUT_CONNECTIONS: usize = 100;

/// Callgrind counts a `rep movsb` once per byte, and libc copies and fills 2 KiB or more in that way: here it shall not.
const GLIBC_TUNABLES: &str =
    "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// What one run may take, under callgrind as well.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take to end, and callgrind to write.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Places of less than this share of a server's instructions are summed up.
const SMALL_SHARE: f64 = 0.005;

fn main() -> Result<()> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        println!("{HELP}");
        return Ok(());
    }
    ensure!(!cfg!(debug_assertions), "measure with --release");
    let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let names = args.opt_value_from_str("--workloads")?.map_or_else(|| WORKLOADS.map(str::to_owned).to_vec(), list);
    let choice = Choice {
        names: args.opt_value_from_str("--servers")?.map(list),
        further: args.values_from_str("--server")?,
        build: !args.contains("--no-build"),
    };
    let rooms = args.contains("--rooms");
    let messages: Option<u64> = args.opt_value_from_str("--messages")?;
    let with_strace = !args.contains("--no-syscalls");
    let server_core = args.opt_value_from_str("--server-core")?.unwrap_or_else(|| Cores::one(0));
    let load_core = args.opt_value_from_str("--load-core")?.unwrap_or_else(|| Cores::one(1));
    let out: PathBuf = args.opt_value_from_str("--out")?.unwrap_or_else(|| own_dir().join("target/results"));
    let rest = args.finish();
    ensure!(rest.is_empty(), "unknown arguments {rest:?}\n\n{HELP}");

    let plans = names.iter().map(|name| Plan::named(name, messages)).collect::<Result<Vec<_>>>()?;
    let callgrind = tool("valgrind", "apt-get install valgrind")?;
    let strace = if with_strace { Some(tool("strace", "apt-get install strace, or --no-syscalls")?) } else { None };
    let servers = choice.servers()?;
    process::raise_open_files()?;
    process::pin(&load_core)?;
    let bench = Bench::new(server_core, load_core, out.join("logs"))?;
    let counted = Counter { bench, out, plans, servers }.count_all(strace.is_some(), rooms)?;
    let text = format!("{callgrind}{}\n\n{counted}", strace.map(|strace| format!(", {strace}")).unwrap_or_default());
    print!("{text}");
    Ok(())
}

/// The first line that a tool says of its version.
fn tool(name: &str, remedy: &str) -> Result<String> {
    let output = Command::new(name).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("`{name}` is not installed: {remedy}"))?;
    ensure!(output.status.success(), "`{name} --version` failed");
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or(name).to_owned())
}

/// A workload at two numbers of messages.
struct Plan {
    workload: Workload,
    few: u64,
    many: u64,
}

impl Plan {
    fn named(name: &str, messages: Option<u64>) -> Result<Self> {
        let mut workload = *Workload::named(name).with_context(|| format!("unknown workload {name}\n\n{HELP}"))?;
        let many = match workload.work {
            Work::Echo => {
                workload.connections = workload.connections.min(ECHO_CONNECTIONS);
                match workload.size * workload.connections {
                    ..100_000 => 20_000 * workload.pipeline as u64,
                    100_000..1_000_000 => 5_000,
                    _ => 200,
                }
            }
            Work::FanOut => {
                workload.connections = FAN_OUT_CONNECTIONS;
                40_000
            }
            Work::Churn => 2_000,
            Work::Idle => bail!("an idle connection has no messages to count"),
        };
        let many = messages.unwrap_or(many);
        Ok(Self { workload, few: many / 10, many })
    }

    fn args(&self, messages: u64) -> Vec<String> {
        let Workload { name, connections, .. } = self.workload;
        let words = format!(
            "--workload {name} --connections {connections} --messages {messages} --seconds {} --warmup 0",
            RUN_LIMIT.as_secs()
        );
        words.split(' ').map(str::to_owned).collect()
    }
}

struct Counter {
    bench: Bench,
    out: PathBuf,
    plans: Vec<Plan>,
    servers: Vec<Server>,
}

/// What a server did for one unit of a workload.
struct Cost {
    instructions: f64,
    places: Vec<(String, f64)>,
    calls: Option<[f64; 4]>,
}

impl Counter {
    /// All tables, as they go to `instructions.md`; written anew after each server.
    fn count_all(mut self, with_strace: bool, rooms: bool) -> Result<String> {
        let mut costs: Vec<Vec<Option<Cost>>> = Vec::new();
        let mut text = String::new();
        for at in 0..self.servers.len() {
            let server = self.servers[at].clone();
            let broadcasts = server.echo == Echo::WebSocket && self.broadcasts(&server)?;
            let mut row = Vec::new();
            for at in 0..self.plans.len() {
                let plan = &self.plans[at];
                if plan.workload.work == Work::FanOut && !broadcasts {
                    row.push(None);
                    continue;
                }
                eprintln!("{}: {}", plan.workload.name, server.name);
                let cost = self.count(&server, at, with_strace);
                row.push(Some(
                    cost.with_context(|| format!("{} under {}", server.name, self.plans[at].workload.name))?,
                ));
            }
            costs.push(row);
            text = self.tables(&costs, with_strace, rooms);
            std::fs::write(self.out.join("instructions.md"), &text)?;
        }
        Ok(text)
    }

    fn broadcasts(&mut self, server: &Server) -> Result<bool> {
        if self.plans.iter().all(|plan| plan.workload.work != Work::FanOut) {
            return Ok(false);
        }
        let (_process, addr) = self.bench.start(server, &[])?;
        load::offers(&Target::new(addr, "/broadcast", server.echo)?)
    }

    fn count(&mut self, server: &Server, plan: usize, with_strace: bool) -> Result<Cost> {
        let (few, many) = (self.plans[plan].few, self.plans[plan].many);
        let (fewer, less) = self.under_callgrind(server, plan, few)?;
        let (more, all) = self.under_callgrind(server, plan, many)?;
        ensure!(more > fewer, "{many} messages are too few");
        let places = all.beyond(&less, more - fewer);
        let calls = if with_strace {
            let (fewer, less) = self.under_strace(server, plan, few)?;
            let (more, all) = self.under_strace(server, plan, many)?;
            Some(all.beyond(less, more - fewer))
        } else {
            None
        };
        Ok(Cost { instructions: places.iter().map(|(_, count)| count).sum(), places, calls })
    }

    fn under_callgrind(&mut self, server: &Server, plan: usize, messages: u64) -> Result<(u64, Profile)> {
        let file = std::path::absolute(self.out.join("logs").join(format!("{}.callgrind", server.name)))?;
        let into = format!("--callgrind-out-file={}", file.display());
        let under = ["env", GLIBC_TUNABLES, "valgrind", "--tool=callgrind", "--quiet", &into];
        // `env` becomes valgrind, which runs the server within itself
        let (units, text) = self.under(&under, |tracer| Ok(tracer.pid()), &file, server, plan, messages)?;
        Ok((units, Profile::parse(&text)?))
    }

    fn under_strace(&mut self, server: &Server, plan: usize, messages: u64) -> Result<(u64, Calls)> {
        let file = std::path::absolute(self.out.join("logs").join(format!("{}.strace", server.name)))?;
        let path = file.to_string_lossy();
        let under = ["strace", "-f", "--summary-only", "--summary-columns=calls,name", "-o", &path];
        let (units, text) = self.under(&under, Process::only_child, &file, server, plan, messages)?;
        Ok((units, Calls::parse(&text)?))
    }

    /// One run of a server under a tool: how many messages were counted, and what the tool wrote.
    fn under(
        &mut self,
        tool: &[&str],
        pid_of_server: impl Fn(&Process) -> Result<u32>,
        file: &std::path::Path,
        server: &Server,
        plan: usize,
        messages: u64,
    ) -> Result<(u64, String)> {
        let _ = std::fs::remove_file(file);
        let tool: Vec<String> = tool.iter().map(|word| (*word).to_owned()).collect();
        let (process, addr) = self.bench.start(server, &tool)?;
        let pid = pid_of_server(&process)?;
        let outcome = self.bench.load(addr, pid, server.echo, &self.plans[plan].args(messages), RUN_LIMIT * 2)?;
        process.terminate(pid, END_LIMIT)?;
        let text = std::fs::read_to_string(file).with_context(|| format!("{} wrote nothing", tool[0]))?;
        match outcome {
            Outcome::Flow(flow) => Ok((flow.units, text)),
            Outcome::Memory(_) => bail!("a workload without messages"),
        }
    }

    fn tables(&self, costs: &[Vec<Option<Cost>>], with_strace: bool, rooms: bool) -> String {
        let mut text = String::from("### User instructions per message\n\n");
        for plan in &self.plans {
            let Workload { name, title, work, connections, .. } = plan.workload;
            let title = match work {
                Work::FanOut => "fan-out of 100 B text, per delivery",
                Work::Churn => "connect, upgrade, echo, close, per connection",
                Work::Echo | Work::Idle => title.split(',').next().unwrap_or(title),
            };
            let _ = writeln!(text, "- `{name}`: {title}, {connections} connections, {} messages", plan.many - plan.few);
        }
        text.push('\n');
        text.push_str(&self.table(costs, |cost| Some(format!("{:.0}", cost.instructions))));
        if with_strace {
            text.push_str("\n### System calls per message: reads + writes + waits + others\n\n");
            text.push_str(&self.table(costs, |cost| {
                let show = |calls: f64| format!("{calls:.2}").replace("-0.00", "0.00");
                Some(cost.calls?.map(show).join(" + "))
            }));
        }
        if rooms {
            for (at, plan) in self.plans.iter().enumerate() {
                for (server, row) in self.servers.iter().zip(costs) {
                    if let Some(cost) = &row[at] {
                        let _ = write!(text, "\n### `{}`: {}\n\n", plan.workload.name, server.name);
                        put_places(&mut text, cost);
                    }
                }
            }
        }
        text
    }

    /// A row per server that was counted, a column per workload.
    fn table(&self, costs: &[Vec<Option<Cost>>], cell: impl Fn(&Cost) -> Option<String>) -> String {
        let mut text = String::new();
        let names = self.plans.iter().map(|plan| format!("`{}`", plan.workload.name));
        table::put_row(&mut text, &["server".to_owned()].into_iter().chain(names).collect::<Vec<_>>());
        let rule = ["---"].into_iter().chain(self.plans.iter().map(|_| "---:"));
        table::put_row(&mut text, &rule.collect::<Vec<_>>());
        for (server, row) in self.servers.iter().zip(costs) {
            let cells = row.iter().map(|cost| cost.as_ref().and_then(&cell).unwrap_or_else(|| "-".to_owned()));
            table::put_row(&mut text, &[server.name.clone()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        text
    }
}

fn put_places(text: &mut String, cost: &Cost) {
    let mut groups: Vec<(&str, f64)> = Vec::new();
    for (place, count) in &cost.places {
        let name = place.split(':').next().unwrap_or(place);
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, sum)) => *sum += count,
            None => groups.push((name, *count)),
        }
    }
    groups.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let is_small = |count: f64| count < cost.instructions * SMALL_SHARE;
    let groups = groups.iter().filter(|(_, sum)| !is_small(*sum));
    let groups: Vec<String> = groups.map(|(name, sum)| format!("{name} {sum:.0}")).collect();
    let _ = writeln!(text, "Together: {}.\n", groups.join(", "));

    table::put_row(text, &["where", "instructions", "share"]);
    table::put_row(text, &["---", "---:", "---:"]);
    for (place, count) in cost.places.iter().filter(|(_, count)| !is_small(*count)) {
        let share = count / cost.instructions * 100.0;
        table::put_row(text, &[place.clone(), format!("{count:.1}"), format!("{share:.1} %")]);
    }
    let small: f64 = cost.places.iter().map(|(_, count)| *count).filter(|count| is_small(*count)).sum();
    table::put_row(text, &["all others", &format!("{small:.1}"), ""]);
}
