//! Time that processes of one machine share.

use anyhow::Result;
use nix::time::ClockId;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> Result<u64> {
    let time = ClockId::CLOCK_MONOTONIC.now()?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}
