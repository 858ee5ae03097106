//! The measured part of a run: after the warm-up, for some seconds or some units, with the server's clocks at both ends.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Flow;
use crate::process;
use crate::stats::Histogram;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warmup: Duration,
    pub length: Duration,
    /// End as soon as so many messages, deliveries or connections are counted.
    pub units: Option<u64>,
}

pub(super) struct Window {
    server: u32,
    span: Span,
    created: Instant,
    phase: Phase,
    units: u64,
    latencies: Histogram,
}

enum Phase {
    WarmingUp,
    Measuring(Clocks),
    Over(Flow),
}

struct Clocks {
    at: Instant,
    server_cpu: Duration,
    server_waited: Duration,
    load_cpu: Duration,
}

impl Window {
    pub(super) fn new(server: u32, span: Span) -> Self {
        let created = Instant::now();
        Self { server, span, created, phase: Phase::WarmingUp, units: 0, latencies: Histogram::new() }
    }

    /// Units of work sent at `sent` are complete `now`. Says whether there shall be more.
    pub(super) fn count(&mut self, units: usize, sent: Instant, now: Instant) -> Result<bool> {
        match &self.phase {
            Phase::WarmingUp => {
                if now - self.created >= self.span.warmup {
                    self.phase = Phase::Measuring(self.clocks()?);
                }
                Ok(true)
            }
            Phase::Measuring(start) => {
                self.units += units as u64;
                self.latencies.record(now - sent);
                let enough = self.span.units.is_some_and(|units| self.units >= units);
                if !enough && now - start.at < self.span.length {
                    return Ok(true);
                }
                self.phase = Phase::Over(self.flow(start)?);
                Ok(false)
            }
            Phase::Over(_) => Ok(false),
        }
    }

    /// What was measured, when it is over.
    pub(super) fn into_flow(self) -> Result<Flow> {
        match self.phase {
            Phase::Over(flow) => Ok(flow),
            _ => anyhow::bail!("the run ended before the measurement"),
        }
    }

    fn clocks(&self) -> Result<Clocks> {
        Ok(Clocks {
            at: Instant::now(),
            server_cpu: process::cpu_time(self.server)?,
            server_waited: process::waiting_time(self.server)?,
            load_cpu: process::own_cpu_time()?,
        })
    }

    fn flow(&self, start: &Clocks) -> Result<Flow> {
        let end = self.clocks()?;
        Ok(Flow {
            units: self.units,
            seconds: (end.at - start.at).as_secs_f64(),
            server_cpu_seconds: end.server_cpu.saturating_sub(start.server_cpu).as_secs_f64(),
            server_waited_seconds: end.server_waited.saturating_sub(start.server_waited).as_secs_f64(),
            load_cpu_seconds: end.load_cpu.saturating_sub(start.load_cpu).as_secs_f64(),
            p50_us: self.latencies.quantile_us(0.5),
            p99_us: self.latencies.quantile_us(0.99),
        })
    }
}
