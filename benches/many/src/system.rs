//! What Linux tells about memory, sockets and limits. The parsers are pure.

use std::fs::read_to_string;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// Memory of one process, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident, pages that it shares with others included.
    pub rss: u64,
    /// Resident, each shared page divided by the processes that share it.
    pub pss: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rss: self.rss + other.rss, pss: self.pss + other.pss }
    }
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

pub fn memory(pid: u32) -> Result<Memory> {
    let text =
        read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("process {pid} has exited"))?;
    parse_memory(&text).with_context(|| format!("no Rss and Pss of process {pid}"))
}

fn parse_memory(smaps_rollup: &str) -> Option<Memory> {
    Some(Memory { rss: field(smaps_rollup, "Rss:")?, pss: field(smaps_rollup, "Pss:")? })
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The caches of the kernel's objects that every socket has.
const CACHES: [&str; 6] = ["TCP", "sock_inode_cache", "filp", "eventpoll_epi", "tcp_bind_bucket", "dentry"];

/// Memory of the kernel, in KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    pub slab: u64,
    /// The part of it that cannot be given back while it is in use.
    pub unreclaimable: u64,
    pub page_tables: u64,
    /// Bytes in the buffers of TCP sockets.
    pub tcp_buffers: u64,
    pub available: u64,
    /// The pages of each cache of [`CACHES`]; empty if only root may read them and we are not.
    pub caches: Vec<(String, u64)>,
}

impl Kernel {
    /// Memory that the kernel cannot reclaim, and the inodes of sockets, which it counts as reclaimable. Other work hardly changes it.
    pub fn of_sockets(&self) -> u64 {
        let inodes = self.caches.iter().find(|(name, _)| name == "sock_inode_cache").map_or(0, |(_, kib)| *kib);
        self.unreclaimable + inodes
    }
}

pub fn kernel() -> Result<Kernel> {
    let meminfo = read_to_string("/proc/meminfo")?;
    let read = |name: &str| field(&meminfo, name).with_context(|| format!("no {name} in /proc/meminfo"));
    let sockstat = read_to_string("/proc/net/sockstat")?;
    Ok(Kernel {
        slab: read("Slab:")?,
        unreclaimable: read("SUnreclaim:")?,
        page_tables: read("PageTables:")?,
        tcp_buffers: parse_tcp_pages(&sockstat).context("no memory of TCP in /proc/net/sockstat")? * PAGE_KIB,
        available: read("MemAvailable:")?,
        caches: read_to_string("/proc/slabinfo").map(|text| parse_caches(&text)).unwrap_or_default(),
    })
}

const PAGE_KIB: u64 = 4;

fn parse_tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_whitespace().skip_while(|word| *word != "mem").nth(1)?.parse().ok()
}

fn parse_caches(slabinfo: &str) -> Vec<(String, u64)> {
    let cache = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = *words.first().filter(|name| CACHES.contains(name))?;
        let pages_per_slab: u64 = words.get(5)?.parse().ok()?;
        let slabs: u64 = words.get(14)?.parse().ok()?;
        Some((name.to_owned(), slabs * pages_per_slab * PAGE_KIB))
    };
    slabinfo.lines().filter_map(cache).collect()
}

/// Limits of this machine on the number of connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Open files of one process, which cannot be raised.
    pub open_files: u64,
    /// Open files of the machine.
    pub all_files: u64,
    /// Ports for connections from one address to one address and port.
    pub ports: (u64, u64),
    /// Connections that may wait to be accepted, for each listener.
    pub backlog: u64,
    /// Connections that the firewall follows and may follow, if it has this module.
    pub tracked: Option<(u64, u64)>,
    /// Pages for the buffers of TCP above which nothing more is taken.
    pub tcp_pages: u64,
    pub memory_kib: u64,
}

pub fn limits() -> Result<Limits> {
    let text = |name: &str| read_to_string(format!("/proc/sys/{name}")).with_context(|| format!("cannot read {name}"));
    let numbers = |name: &str| -> Result<Vec<u64>> {
        text(name)?.split_whitespace().map(|word| word.parse().context("not a number")).collect()
    };
    let last = |name: &str| numbers(name)?.last().copied().with_context(|| format!("{name} is empty"));
    let ports = numbers("net/ipv4/ip_local_port_range")?;
    let tracked = last("net/netfilter/nf_conntrack_count").ok().zip(last("net/netfilter/nf_conntrack_max").ok());
    Ok(Limits {
        open_files: getrlimit(Resource::RLIMIT_NOFILE)?.1,
        all_files: last("fs/file-max")?,
        ports: (*ports.first().context("no first port")?, *ports.last().context("no last port")?),
        backlog: last("net/core/somaxconn")?,
        tracked,
        tcp_pages: last("net/ipv4/tcp_mem")?,
        memory_kib: field(&read_to_string("/proc/meminfo")?, "MemTotal:").context("no MemTotal")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process_is_read_from_smaps_rollup() {
        let text = "55f7-7ffe ---p 00000000 00:00 0   [rollup]\nRss:                1768 kB\nPss:   439 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { rss: 1768, pss: 439 }));
        assert_eq!(parse_memory("Pss: 3 kB\n"), None);
    }

    #[test]
    fn buffers_of_tcp_are_read_from_sockstat() {
        assert_eq!(
            parse_tcp_pages("sockets: used 25\nTCP: inuse 7 orphan 0 tw 1 alloc 7 mem 166\nUDP: mem 1\n"),
            Some(166)
        );
        assert_eq!(parse_tcp_pages("UDP: inuse 0 mem 0\n"), None);
    }

    #[test]
    fn a_cache_has_its_slabs() {
        let text = "# name\nTCP 91 143 2368 13 8 : tunables 0 0 0 : slabdata 11 11 0\nTCPv6 26 26 2496 13 8 : tunables 0 0 0 : slabdata 2 2 0\n";
        assert_eq!(parse_caches(text), [("TCP".to_owned(), 11 * 8 * 4)]);
    }
}
