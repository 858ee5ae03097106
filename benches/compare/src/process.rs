//! What Linux knows of a process: its CPU time, its waiting, its memory, its core. And a child that cannot outlive us.

use std::fmt::{self, Display};
use std::fs::File;
use std::num::ParseIntError;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// CPU time of the whole process, ended threads included, user and system, in nanoseconds.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(as_pid(pid)).with_context(|| format!("process {pid} has exited"))?;
    Ok(clock.now().with_context(|| format!("process {pid} has exited"))?.into())
}

/// CPU time of this process.
pub fn own_cpu_time() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// How long the process's threads were ready to run but others had their core: the mark of a disturbed measurement.
pub fn waiting_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        if let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) {
            nanoseconds += text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The kernel's thread that delivers what came over the network to processes of this core, when there is more of it than
/// fits in between. None where a container hides it.
pub fn delivering(core: usize) -> Option<u32> {
    let name = format!("ksoftirqd/{core}");
    let mut pids =
        std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim_end() == name)
    })
}

/// Resident memory in KiB, exact (`/proc/PID/statm` is batched per thread and so up to some 100 KiB off).
pub fn resident_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("process {pid} has exited"))?;
    parse_resident(&text).with_context(|| format!("no Rss of process {pid}"))
}

fn parse_resident(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// The cores that a process may run on, as `0` or `0,2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cores(Vec<usize>);

impl Cores {
    pub fn one(core: usize) -> Self {
        Self(vec![core])
    }
}

impl FromStr for Cores {
    type Err = ParseIntError;

    fn from_str(list: &str) -> Result<Self, ParseIntError> {
        list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&list.join(","))
    }
}

/// Keeps this process, and the children it starts from now on, on these cores.
pub fn pin(cores: &Cores) -> Result<()> {
    let mut set = CpuSet::new();
    for core in &cores.0 {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::this(), &set).with_context(|| format!("cannot run on core {cores}"))
}

/// As many open files as this user may have; children inherit the limit.
pub fn raise_open_files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// For our own binaries: should the driver be killed outright, they end too. Best effort.
pub fn die_with_parent() {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

/// A child that is ended, by its pid, when this value is dropped: after its run, on an error, on a panic, on Ctrl-C.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a server on its cores, its output going to `log`.
    pub fn start_server(command: &[String], cores: &Cores, log: &Path) -> Result<Self> {
        let Some((program, args)) = command.split_first() else { bail!("the server's command is empty") };
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut server = Command::new(program);
        server.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Self::start(&mut server, cores)
    }

    /// Affinity is inherited, so this process goes to the cores for the moment of the start; no code runs in the fork.
    pub fn start(command: &mut Command, cores: &Cores) -> Result<Self> {
        let before = sched_getaffinity(Pid::this())?;
        pin(cores)?;
        let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()));
        sched_setaffinity(Pid::this(), &before)?;
        Ok(Self { child: child? })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The process that this one started, as a tracer does.
    pub fn only_child(&self) -> Result<u32> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .with_context(|| format!("process {pid} has exited"))?;
        let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("process {pid} has the children {children:?}, expected one")
        };
        Ok(child.parse()?)
    }

    /// Asks `pid`, which is this process or its child, to end, and waits until this process has ended.
    pub fn terminate(mut self, pid: u32, limit: Duration) -> Result<()> {
        kill(as_pid(pid), Signal::SIGTERM).with_context(|| format!("process {pid} has exited"))?;
        let deadline = Instant::now() + limit;
        while self.ended()?.is_none() {
            ensure!(Instant::now() < deadline, "process {pid} does not exit");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already; waiting then just collects it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_smaps_rollup() {
        let text =
            "55f7f053f000-7ffe6098a000 ---p 00000000 00:00 0   [rollup]\nRss:                1768 kB\nPss:   439 kB\n";
        assert_eq!(parse_resident(text), Some(1768));
        assert_eq!(parse_resident("Pss: 3 kB\n"), None);
    }

    #[test]
    fn cores_are_a_list() {
        assert_eq!("0,2".parse(), Ok(Cores(vec![0, 2])));
        assert_eq!(Cores(vec![0, 2]).to_string(), "0,2");
        assert!("0,".parse::<Cores>().is_err());
    }

    #[test]
    fn own_cpu_time_and_that_of_our_pid_are_the_same_clock() {
        let own = own_cpu_time().unwrap();
        let by_pid = cpu_time(std::process::id()).unwrap();
        assert!(by_pid >= own && by_pid - own < Duration::from_secs(1), "{own:?} {by_pid:?}");
    }
}
