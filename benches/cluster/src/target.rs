//! What is measured: the program of a node, how it speaks, and its engine. Knows nothing of how it is measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use compare::servers;

use crate::dialect::Dialect;
use crate::engine::Kind;

const SOCKET_IO: &str = "socketio";
/// Its adapter for Redis 7, which subscribes to a channel per room.
const SOCKET_IO_SHARDED: &str = "socketio-sharded";
const OURS_REDIS: &str = "ours-redis";
const OURS_NATS: &str = "ours-nats";
pub const NAMES: [&str; 4] = [SOCKET_IO, SOCKET_IO_SHARDED, OURS_REDIS, OURS_NATS];

const OURS_EXAMPLE: &str = "cluster_chat";
const OURS_PACKAGE: [&str; 2] = ["--package", "examples"];

/// A program that is started once per node.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    /// `{addr}` and `{node}` stand for the node's address and name.
    command: Vec<String>,
    pub dialect: Dialect,
    /// Without one it is measured as a single node.
    pub engine: Option<Kind>,
}

/// Which targets, and whether they are built first.
#[derive(Clone, Debug)]
pub struct Choice {
    /// All if none are named.
    pub names: Option<Vec<String>>,
    /// More of them, as NAME=COMMAND.
    pub further: Vec<String>,
    /// The program of ours, already built.
    pub ours: Option<PathBuf>,
    pub build: bool,
}

impl Choice {
    pub fn targets(&self) -> Result<Vec<Target>> {
        for name in self.names.iter().flatten() {
            ensure!(NAMES.contains(&name.as_str()), "unknown target {name}");
        }
        let named = |name: &str| self.names.as_ref().is_some_and(|names| names.iter().any(|asked| asked == name));
        let all = self.names.is_none() && self.further.is_empty();
        let asked = |name: &str| all || named(name);
        let mut targets = Vec::new();
        for (name, adapter) in [(SOCKET_IO, "classic"), (SOCKET_IO_SHARDED, "sharded")] {
            if asked(name) {
                targets.push(socket_io(name, adapter, self.build)?);
            }
        }
        if asked(OURS_REDIS) || asked(OURS_NATS) {
            let program = match &self.ours {
                Some(path) => Some(path.to_string_lossy().into_owned()),
                None => servers::example(OURS_EXAMPLE, &OURS_PACKAGE, self.build)?,
            };
            ensure!(program.is_some() || all, "there is no example {OURS_EXAMPLE}");
            match program {
                None => eprintln!("skipping ours: no example {OURS_EXAMPLE}"),
                Some(program) => {
                    let ours = [(OURS_REDIS, Kind::Redis), (OURS_NATS, Kind::Nats)];
                    targets.extend(ours.into_iter().filter(|(name, _)| asked(name)).map(|(name, engine)| {
                        let words = [&program, "--addr", "{addr}", "--node", "{node}"];
                        Target::new(name, &words, Dialect::Plain, Some(engine))
                    }));
                }
            }
        }
        for further in &self.further {
            let (name, command) = further.split_once('=').with_context(|| format!("{further} is not NAME=COMMAND"))?;
            ensure!(command.contains("{addr}"), "the command of {name} has no {{addr}}");
            let words: Vec<&str> = command.split_whitespace().collect();
            targets.push(Target::new(name, &words, Dialect::Plain, None));
        }
        ensure!(!targets.is_empty(), "no target to measure");
        Ok(targets)
    }
}

impl Target {
    fn new(name: &str, words: &[&str], dialect: Dialect, engine: Option<Kind>) -> Self {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        Self { name: name.to_owned(), command, dialect, engine }
    }

    /// The program of the node of this name and its arguments, those for the engine last.
    pub fn node_command(&self, node: &str, engine: &[String]) -> Vec<String> {
        let words = self.command.iter().map(|word| word.replace("{node}", node));
        words.chain(engine.iter().cloned()).collect()
    }
}

/// Its dependencies are installed as the lock file says.
fn socket_io(name: &str, adapter: &str, build: bool) -> Result<Target> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("socketio");
    if build && !folder.join("node_modules").exists() {
        let installed = Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(&folder).status();
        ensure!(installed.context("cannot run npm")?.success(), "npm ci failed");
    }
    let script = folder.join("server.js").to_string_lossy().into_owned();
    let words = ["env", "NODE_ENV=production", "node", &script, "--addr", "{addr}", "--node", "{node}"];
    let words = [&words[..], &["--adapter", adapter]].concat();
    Ok(Target::new(name, &words, Dialect::SocketIo, Some(Kind::Redis)))
}
