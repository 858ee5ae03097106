//! A long run with idle and active sessions, which must change nothing: every session stays open, every message comes back
//! once and in order, and memory does not grow.

use std::fmt::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::orders::{Answer, Counts, Order, Talk, ask_all};
use crate::report::{group, load_average};
use crate::system;
use crate::tcp::{Fleet, Plan};

const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait for the last echoes.
const DRAIN: Duration = Duration::from_secs(30);
/// The soak has at least so many samples in each third.
const SAMPLES: u64 = 10;
/// Time between two broadcasts to all sessions, in samples.
const BROADCAST_EVERY: u64 = 3;

pub struct Soak {
    pub seconds: u64,
    pub sessions: usize,
    pub active: usize,
    /// Messages per second, of all active sessions together.
    pub rate: f64,
    /// Most growth of the servers' memory in the last two thirds, in percent.
    pub growth: f64,
}

impl Soak {
    pub fn run(&self, out: Option<&Path>) -> Result<()> {
        ensure!(self.active <= self.sessions && self.rate > 0.0, "there are no {} active sessions", self.active);
        let plan = Plan::new(self.sessions, None, &system::limits()?)?;
        ensure!(self.active >= plan.clients, "each of the {} client processes needs an active session", plan.clients);
        let mut fleet = Fleet::start(plan, true)?;
        fleet.open()?;
        println!("{} sessions open in {} server processes", group(self.sessions), plan.servers);
        let load_before = load_average();

        self.talk(&mut fleet)?;
        let started = Instant::now();
        let cpu = fleet.server_cpu()?;
        let interval = Duration::from_secs(self.seconds) / (3 * SAMPLES as u32);
        let mut memory = vec![fleet.server_memory()?.pss];
        let mut broadcasts = Vec::new();
        for sample in 1..=3 * SAMPLES {
            sleep((interval * sample as u32).saturating_sub(started.elapsed()));
            if sample % BROADCAST_EVERY == 0 {
                broadcasts.push(fleet.broadcast(broadcasts.len() as u32 + 1)?.heard_seconds);
            }
            fleet.check()?;
            memory.push(fleet.server_memory()?.pss);
            let sums = sums(&fleet.counts()?);
            println!(
                "{:4.0} s: {} KiB, {} sent, {} echoed, p99 {:.1} ms",
                started.elapsed().as_secs_f64(),
                group(memory[memory.len() - 1] as usize),
                group(sums.sent as usize),
                group(sums.echoed as usize),
                sums.p99_us / 1000.0
            );
        }
        let cpu = (fleet.server_cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
        let counts = self.fall_silent(&mut fleet)?;
        fleet.check()?;

        let growth = growth(&memory);
        let slowest = broadcasts.iter().copied().fold(0.0, f64::max);
        let table = self.table(plan, &counts, &memory, growth, slowest, cpu, &load_before);
        println!("\n{table}");
        if let Some(out) = out {
            std::fs::write(out, &table)?;
        }
        ensure!(growth <= self.growth, "the memory of the servers grew by {growth:.1} %");
        Ok(())
    }

    /// Gives each client process its share of the active sessions.
    fn talk(&self, fleet: &mut Fleet) -> Result<()> {
        let clients = fleet.clients.len();
        for (number, client) in fleet.clients.iter_mut().enumerate() {
            let active = (number + 1) * self.active / clients - number * self.active / clients;
            let rate = self.rate * active as f64 / self.active as f64;
            client.tell(&Order::Talk(Talk { active, rate }))?;
            let Answer::Done = client.answer(ANSWER)? else { bail!("{} does not talk", client.name) };
        }
        Ok(())
    }

    /// Stops the senders and waits for what is under way.
    fn fall_silent(&self, fleet: &mut Fleet) -> Result<Counts> {
        ask_all(&mut fleet.clients, &Order::Silence, ANSWER)?;
        let deadline = Instant::now() + DRAIN;
        loop {
            let counts = sums(&fleet.counts()?);
            if counts.echoed == counts.sent {
                return Ok(counts);
            }
            ensure!(Instant::now() < deadline, "{} messages are lost", counts.sent - counts.echoed);
            sleep(Duration::from_millis(100));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn table(
        &self,
        plan: Plan,
        counts: &Counts,
        memory: &[u64],
        growth: f64,
        broadcast: f64,
        cpu: f64,
        load_before: &str,
    ) -> String {
        let ms = |us: f64| format!("{:.1}", us / 1000.0);
        let third = memory[memory.len() / 3] as f64 / 1024.0;
        let rows = [
            ("seconds", self.seconds.to_string()),
            ("sessions, and those that talk", format!("{}, {}", group(self.sessions), group(self.active))),
            ("server processes", plan.servers.to_string()),
            (
                "messages sent, and echoed in order",
                format!("{}, {}", group(counts.sent as usize), group(counts.echoed as usize)),
            ),
            ("lost, doubled or out of order", counts.wrong.to_string()),
            ("sessions lost", counts.ended.to_string()),
            ("pings answered", group(counts.pings as usize)),
            (
                "round trip p50 / p99 / p99.9 / slowest, ms",
                [counts.p50_us, counts.p99_us, counts.p999_us, counts.slowest_us].map(ms).join(" / "),
            ),
            ("slowest broadcast to all, s", format!("{broadcast:.2}")),
            (
                "memory of the servers after a third and at the end, MiB",
                format!("{third:.1}, {:.1}", memory[memory.len() - 1] as f64 / 1024.0),
            ),
            ("growth in between", format!("{growth:.1} %")),
            ("CPU of the servers, share of a core", format!("{:.0} %", cpu * 100.0)),
            ("load average before and after", format!("{load_before}, {}", load_average())),
        ];
        let mut text = String::from("| | |\n|---|---:|\n");
        for (name, value) in rows {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        text
    }
}

/// All processes together; of latencies the worst process.
fn sums(all: &[Counts]) -> Counts {
    all.iter().fold(Counts::default(), |sum, one| Counts {
        open: sum.open + one.open,
        ended: sum.ended + one.ended,
        why: sum.why.or_else(|| one.why.clone()),
        pings: sum.pings + one.pings,
        round: sum.round.max(one.round),
        heard: sum.heard + one.heard,
        last_heard: sum.last_heard.max(one.last_heard),
        sent: sum.sent + one.sent,
        echoed: sum.echoed + one.echoed,
        wrong: sum.wrong + one.wrong,
        p50_us: sum.p50_us.max(one.p50_us),
        p99_us: sum.p99_us.max(one.p99_us),
        p999_us: sum.p999_us.max(one.p999_us),
        slowest_us: sum.slowest_us.max(one.slowest_us),
    })
}

/// By how many percent the end is above the end of the first third.
fn growth(samples: &[u64]) -> f64 {
    let (Some(&last), third) = (samples.last(), samples[samples.len() / 3]) else { return 0.0 };
    (last as f64 / third as f64 - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_starts_after_the_first_third() {
        assert_eq!(growth(&[1, 50, 100, 100, 100, 150]), 50.0);
        assert_eq!(growth(&[100, 100, 100, 50]), -50.0);
    }
}
