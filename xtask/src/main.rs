//! Commands for work on the project: `cargo xtask` lists them.
//!
//! Each prints the command line that it runs, and its exit status is that of the command.

mod minimal_versions;
mod repository;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Why a command did not succeed, for the last line on the terminal.
type Outcome = Result<(), String>;

struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome,
}

/// Every command, in the order in which the help lists them.
const TASKS: &[Task] = &[
    Task {
        name: "bless-ui",
        arguments: "",
        about: "update the compiler messages in tests/ui/fail",
        run: |_| cargo(["test", "--workspace", "--test", "ui"]).env("TRYBUILD", "overwrite").run(),
    },
    Task {
        name: "tomcat-page",
        arguments: "",
        about: "update docs/tomcat.md; needs Tomcat 10 and a JDK",
        run: |_| {
            cargo(["test", "--workspace", "--test", "tomcat", "--", "--ignored"]).env("TOMCAT_PAGE", "overwrite").run()
        },
    },
    Task {
        name: "fuzz",
        arguments: "TARGET [SECONDS]",
        about: "run one fuzz target, for 600 seconds by default; needs cargo-fuzz",
        run: fuzz,
    },
    Task {
        name: "models",
        arguments: "",
        about: "run the model checks of concurrent code",
        run: |_| {
            cargo(["test", "--package", "endpoint-runtime", "--lib", "--target-dir", "target/models", "models::"])
                .env("RUSTFLAGS", "--cfg model_check")
                .run()
        },
    },
    Task {
        name: "bench",
        arguments: "micro|compare|instructions [ARGUMENT…]",
        about: "measure single modules, the server against others, or instructions per message",
        run: bench,
    },
    Task {
        name: "guide",
        arguments: "",
        about: "build the guide in both languages into target/guide; needs mdbook",
        run: |_| {
            command("mdbook", ["build", "docs/guide"]).run()?;
            command("mdbook", ["build", "docs/guide/zh-CN"]).run()
        },
    },
    Task {
        name: "features",
        arguments: "",
        about: "check the published crates with every pair of features; needs cargo-hack",
        run: |_| {
            cargo(["hack", "check", "--workspace", "--ignore-private", "--feature-powerset", "--depth", "2"]).run()
        },
    },
    Task {
        name: "minimal-versions",
        arguments: "",
        about: "check the published crates with the minimum versions of their dependencies; needs a nightly Rust",
        run: |_| minimal_versions::check(),
    },
    Task {
        name: "repository",
        arguments: "URL",
        about: "write the address of the repository into the manifests",
        run: |arguments| match arguments {
            [url] => repository::enter(url),
            _ => Err("usage: cargo xtask repository URL".to_owned()),
        },
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = arguments.first().and_then(|name| TASKS.iter().find(|task| task.name == name));
    let Some(task) = task else {
        eprintln!("usage: cargo xtask COMMAND\n");
        for Task { name, arguments, about, .. } in TASKS {
            eprintln!("  {}\n      {about}", format!("{name} {arguments}").trim_end());
        }
        return ExitCode::from(2);
    };
    match (task.run)(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{}: {reason}", task.name);
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

/// The folders of the crates that are published.
fn published() -> Result<Vec<PathBuf>, String> {
    let folders = fs::read_dir(root()).map_err(|error| format!("cannot list the workspace: {error}"))?;
    let is_published = |folder: &PathBuf| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|text| text.contains("version.workspace = true") && !text.contains("publish = false"))
    };
    Ok(folders.flatten().map(|entry| entry.path()).filter(is_published).collect())
}

fn command<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    command
}

fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    command("cargo", arguments)
}

/// Prints a command and waits for its end.
trait Run {
    fn run(&mut self) -> Outcome;
}

impl Run for Command {
    fn run(&mut self) -> Outcome {
        eprintln!("{self:?}");
        match self.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(format!("cannot start {}: {error}", self.get_program().to_string_lossy())),
        }
    }
}

fn fuzz(arguments: &[String]) -> Outcome {
    let (target, seconds) = match arguments {
        [target] => (target, "600"),
        [target, seconds] => (target, seconds.as_str()),
        _ => return Err("usage: cargo xtask fuzz TARGET [SECONDS]; fuzz/README.md lists the targets".to_owned()),
    };
    // the stable compiler instruments the code; the address sanitizer would need a nightly one
    cargo(["fuzz", "run", "-s", "none", target, "--", "-max_len=1200", &format!("-max_total_time={seconds}")])
        .env("RUSTC_BOOTSTRAP", "1")
        .run()
}

fn bench(arguments: &[String]) -> Outcome {
    let (folder, command) = match arguments.first().map(String::as_str) {
        Some("micro") => ("benches/micro", &["bench", "--"][..]),
        Some("compare") => ("benches/compare", &["run", "--release", "--"][..]),
        Some("instructions") => ("benches/compare", &["run", "--release", "--bin", "instructions", "--"][..]),
        _ => return Err("usage: cargo xtask bench micro|compare|instructions [ARGUMENT…]".to_owned()),
    };
    // the folder matters: its .cargo/config.toml holds
    cargo(command.iter().copied()).args(&arguments[1..]).current_dir(root().join(folder)).run()
}
