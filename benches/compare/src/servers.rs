//! The servers by name: how each is built, and its command. Knows nothing of how they are measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::script::Echo;

const PEERS: [(&str, &str); 5] = [
    ("raw", "raw-tcp"),
    ("fastwebsockets", "peer-fastwebsockets"),
    ("tokio-websockets", "peer-tokio-websockets"),
    ("tungstenite", "peer-tungstenite"),
    ("axum", "peer-axum"),
];

const OURS: &str = "ours";
const OURS_EXAMPLE: &str = "bench_server";
/// Of the project's manifest: as the peers are built, see Cargo.toml.
const OURS_PROFILE: &str = "bench-lto";

/// A server by its name in the tables.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    command: Vec<String>,
    pub echo: Echo,
}

/// Which servers, and whether they are built first.
#[derive(Clone, Debug)]
pub struct Choice {
    /// All if none are named.
    pub names: Option<Vec<String>>,
    /// More of them, as NAME=COMMAND.
    pub further: Vec<String>,
    pub build: bool,
}

impl Choice {
    /// The servers asked for, built; ours first.
    pub fn servers(&self) -> Result<Vec<Server>> {
        let asked = |name: &str| self.names.as_ref().is_none_or(|names| names.iter().any(|asked| asked == name));
        let mut servers = Vec::new();
        let mut all_of_ours: Vec<(String, usize)> = Vec::new();
        if asked(OURS) {
            all_of_ours.push((OURS.to_owned(), 1));
        }
        let named = self.names.iter().flatten().filter_map(|name| Some((name.clone(), threads(name)?)));
        all_of_ours.extend(named);
        if !all_of_ours.is_empty() {
            match ours(self.build)? {
                Some(path) => servers.extend(all_of_ours.into_iter().map(|(name, threads)| {
                    Server::of(&name, vec![path.clone(), "--threads".to_owned(), threads.to_string()], true)
                })),
                None if self.names.is_none() => eprintln!("skipping `{OURS}`: no example {OURS_EXAMPLE}"),
                None => bail!("there is no example {OURS_EXAMPLE}"),
            }
        }
        if self.build {
            cargo(own_dir(), &["--release", "--bins"])?;
        }
        let bins = std::env::current_exe()?;
        for (name, binary) in PEERS {
            if asked(name) {
                let path = bins.with_file_name(binary).to_string_lossy().into_owned();
                servers.push(Server::of(name, vec![path], true));
            }
        }
        for further in &self.further {
            let (name, command) = further.split_once('=').with_context(|| format!("{further} is not NAME=COMMAND"))?;
            ensure!(command.contains("{addr}"), "the command of {name} has no {{addr}}");
            let words = command.split_whitespace().map(str::to_owned).collect();
            servers.push(Server::of(name, words, false));
        }
        for name in self.names.iter().flatten() {
            ensure!(servers.iter().any(|server| server.name == *name), "unknown server {name}");
        }
        for (at, server) in servers.iter().enumerate() {
            ensure!(servers[..at].iter().all(|other| other.name != server.name), "duplicate server {}", server.name);
        }
        ensure!(!servers.is_empty(), "no server to measure");
        Ok(servers)
    }
}

impl Server {
    /// A server of WebSockets, with `{addr}` or `{port}` where its command has its address or port.
    pub fn new(name: &str, command: Vec<String>) -> Self {
        Self::of(name, command, false)
    }

    fn of(name: &str, mut command: Vec<String>, takes_addr: bool) -> Self {
        if takes_addr {
            command.extend(["--addr".to_owned(), "{addr}".to_owned()]);
        }
        let echo = if name == "raw" { Echo::Bytes } else { Echo::WebSocket };
        Self { name: name.to_owned(), command, echo }
    }

    /// The program and its arguments.
    pub fn command_at(&self, addr: SocketAddr) -> Vec<String> {
        let (whole, port) = (addr.to_string(), addr.port().to_string());
        self.command.iter().map(|word| word.replace("{addr}", &whole).replace("{port}", &port)).collect()
    }
}

/// `ours-2t` has two threads.
fn threads(name: &str) -> Option<usize> {
    name.strip_prefix(OURS)?.strip_prefix('-')?.strip_suffix('t')?.parse().ok()
}

/// The project's server, or `None` as long as it has none.
fn ours(build: bool) -> Result<Option<String>> {
    example(OURS_EXAMPLE, &[], build)
}

/// An example of the project, built as the peers are, or `None` as long as there is none of this name. `of` says which
/// package it is of, with which features.
pub fn example(name: &str, of: &[&str], build: bool) -> Result<Option<String>> {
    let root = own_dir().join("../..").canonicalize()?;
    let source = root.join("examples").join(name);
    if !source.with_extension("rs").exists() && !source.join("main.rs").exists() {
        return Ok(None);
    }
    if !build {
        let path = root.join("target").join(OURS_PROFILE).join("examples").join(name);
        return Ok(Some(path.to_string_lossy().into_owned()));
    }
    let args = ["--profile", OURS_PROFILE, "--example", name, "--message-format=json-render-diagnostics"];
    let messages = cargo(&root, &[&args, of].concat())?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(str::to_owned));
    executable.map(Some).with_context(|| format!("cargo built no executable {name}"))
}

fn cargo(dir: &Path, args: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet"])
        .args(args)
        .current_dir(dir)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(built.status.success(), "cargo build {} failed", args.join(" "));
    Ok(String::from_utf8_lossy(&built.stdout).into_owned())
}

/// The folder of this workspace.
pub fn own_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_includes_the_thread_count() {
        assert_eq!(threads("ours-2t"), Some(2));
        for name in ["ours", "ours-t", "ours-2", "raw-2t"] {
            assert_eq!(threads(name), None, "{name}");
        }
    }
}
