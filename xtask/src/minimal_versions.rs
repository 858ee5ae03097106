//! Whether the published crates compile with the oldest versions of their direct dependencies.

use std::fs;
use std::path::Path;

use crate::{Outcome, Run, cargo, published, root};

/// Resolves and checks a copy in `target/`, so that `Cargo.lock` stays as it is.
pub(crate) fn check() -> Outcome {
    let (root, copy) = (root(), root().join("target/minimal-versions"));
    let failed = |error: std::io::Error| format!("cannot copy the workspace: {error}");
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(failed)?;
    }
    fs::create_dir_all(&copy).map_err(failed)?;
    let mut members = Vec::new();
    for folder in published()? {
        let name = folder.file_name().expect("a folder of the workspace");
        copy_folder(&folder, &copy.join(name)).map_err(failed)?;
        members.push(name.to_string_lossy().into_owned());
    }
    // the workspace's shared sections, without the packages that are not published
    let text = fs::read_to_string(root.join("Cargo.toml")).map_err(failed)?;
    let mut manifest = format!("[workspace]\nmembers = {members:?}\nresolver = \"3\"\n");
    let mut is_shared = false;
    for line in text.lines() {
        if line.starts_with('[') {
            is_shared = line.starts_with("[workspace.");
        }
        if is_shared {
            manifest += line;
            manifest.push('\n');
        }
    }
    fs::write(copy.join("Cargo.toml"), manifest).map_err(failed)?;
    // the direct ones alone: what the dependencies claim of theirs is not ours to mend
    cargo(["+nightly", "update", "-Z", "direct-minimal-versions"]).current_dir(&copy).run()?;
    cargo(["+nightly", "check", "--workspace", "--all-features"]).current_dir(&copy).run()
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
