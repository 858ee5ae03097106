//! The server that connects the nodes, Redis or NATS: its command, and what it has been asked to do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Nats,
}

/// Work of an engine since its start, or between two readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// By name. NATS has `pub`, and in place of `sub` the subscriptions that it has.
    pub commands: BTreeMap<String, u64>,
    /// Bytes sent to the nodes.
    pub sent_bytes: u64,
}

impl Work {
    pub fn since(&self, before: &Work) -> Work {
        let earlier = |name: &String| before.commands.get(name).copied().unwrap_or(0);
        let commands = self.commands.iter().map(|(name, count)| (name.clone(), count.saturating_sub(earlier(name))));
        Work {
            commands: commands.filter(|(_, count)| *count > 0).collect(),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
        }
    }

    pub fn total(&self) -> u64 {
        self.commands.values().sum()
    }
}

impl Kind {
    /// The engine, from its variable or from the path; `{port}` stands for its port.
    pub fn command(self, monitor: SocketAddr) -> Vec<String> {
        let (variable, program, args) = match self {
            Kind::Redis => ("ENDPOINT_REDIS_SERVER", "redis-server", "--bind 127.0.0.1 --port {port} --appendonly no"),
            Kind::Nats => ("ENDPOINT_NATS_SERVER", "nats-server", "--addr 127.0.0.1 --port {port}"),
        };
        let program = std::env::var(variable).unwrap_or_else(|_| program.to_owned());
        let mut command = vec![program];
        command.extend(args.split(' ').map(str::to_owned));
        match self {
            // no snapshots
            Kind::Redis => command.extend(["--save".to_owned(), String::new()]),
            Kind::Nats => command.extend(["--http_port".to_owned(), monitor.port().to_string()]),
        }
        command
    }

    /// The option of a node, and its value.
    pub fn option(self, addr: SocketAddr) -> [String; 2] {
        match self {
            Kind::Redis => ["--redis".to_owned(), format!("redis://{addr}/")],
            Kind::Nats => ["--nats".to_owned(), format!("nats://{addr}")],
        }
    }

    pub fn work(self, addr: SocketAddr, monitor: SocketAddr) -> Result<Work> {
        match self {
            Kind::Redis => redis_work(&(info(addr, "commandstats")? + &info(addr, "stats")?)),
            Kind::Nats => nats_work(&varz(monitor)?),
        }
    }
}

fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT).with_context(|| format!("the engine at {addr}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn info(addr: SocketAddr, section: &str) -> Result<String> {
    let mut stream = connect(addr)?;
    stream.write_all(format!("INFO {section}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let length = head.trim_end().strip_prefix('$').with_context(|| format!("Redis answered {head}"))?;
    let mut text = vec![0; length.parse()?];
    reader.read_exact(&mut text)?;
    Ok(String::from_utf8(text)?)
}

/// `INFO` itself is not the nodes' doing.
fn redis_work(info: &str) -> Result<Work> {
    let mut work = Work::default();
    for line in info.lines() {
        if let Some((name, stats)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':')) {
            let calls = stats.split(',').find_map(|stat| stat.strip_prefix("calls="));
            let calls = calls.with_context(|| format!("no calls in {line}"))?.parse()?;
            if name != "info" {
                work.commands.insert(name.to_owned(), calls);
            }
        }
        if let Some(bytes) = line.strip_prefix("total_net_output_bytes:") {
            work.sent_bytes = bytes.trim_end().parse()?;
        }
    }
    ensure!(work.sent_bytes > 0, "Redis does not say what it has sent");
    Ok(work)
}

fn varz(monitor: SocketAddr) -> Result<String> {
    let mut stream = connect(monitor)?;
    stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let Some((_, body)) = answer.split_once("\r\n\r\n") else { bail!("NATS answered {answer}") };
    Ok(body.to_owned())
}

fn nats_work(varz: &str) -> Result<Work> {
    let varz: serde_json::Value = serde_json::from_str(varz)?;
    let number = |name: &str| varz[name].as_u64().with_context(|| format!("NATS does not say {name}"));
    let commands = [("pub", "in_msgs"), ("sub", "subscriptions")];
    let commands = commands.into_iter().map(|(name, field)| Ok((name.to_owned(), number(field)?)));
    Ok(Work { commands: commands.collect::<Result<_>>()?, sent_bytes: number("out_bytes")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_redis_are_counted_but_not_our_own() {
        let info = "# Commandstats\r\ncmdstat_info:calls=1,usec=2\r\ncmdstat_publish:calls=7,usec=3,x=1\r\n\
                    cmdstat_client|setinfo:calls=2,usec=1\r\ntotal_net_output_bytes:99\r\n";
        let work = redis_work(info).unwrap();
        let commands = [("client|setinfo".to_owned(), 2), ("publish".to_owned(), 7)];
        assert_eq!(work, Work { commands: commands.into(), sent_bytes: 99 });
        let later = redis_work(&info.replace("calls=7", "calls=10").replace(":99", ":109")).unwrap();
        let since = later.since(&work);
        assert_eq!(since, Work { commands: [("publish".to_owned(), 3)].into(), sent_bytes: 10 });
        assert_eq!(since.total(), 3);
    }

    #[test]
    fn work_of_nats_is_in_its_varz() {
        let work = nats_work(r#"{"in_msgs":5,"out_msgs":9,"out_bytes":70,"subscriptions":60}"#).unwrap();
        let commands = [("pub".to_owned(), 5), ("sub".to_owned(), 60)];
        assert_eq!(work, Work { commands: commands.into(), sent_bytes: 70 });
        assert!(nats_work("{}").is_err());
    }
}
