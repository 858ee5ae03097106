//! The address of the repository, which the manifests lack until there is one.

use std::fs;
use std::path::Path;

use crate::{Outcome, published, root};

/// Enters `url` into the workspace's manifest, and a reference to it into the manifest of every published crate.
pub(crate) fn enter(url: &str) -> Outcome {
    let address = url.strip_prefix("https://").filter(|rest| rest.contains('/') && !rest.contains(['"', '\\']));
    if address.is_none() {
        return Err(format!("{url:?} must have the form \"https://host/owner/name\""));
    }
    edit(&root().join("Cargo.toml"), |text| in_section(text, "workspace.package", &format!("repository = \"{url}\"")))?;
    for folder in published()? {
        edit(&folder.join("Cargo.toml"), |text| in_section(text, "package", "repository.workspace = true"))?;
    }
    Ok(())
}

fn edit(manifest: &Path, change: impl FnOnce(&str) -> Option<String>) -> Outcome {
    let text = fs::read_to_string(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let text = change(&text).ok_or_else(|| format!("{}: the section is missing", manifest.display()))?;
    fs::write(manifest, text).map_err(|error| format!("{}: {error}", manifest.display()))?;
    println!("{}", manifest.display());
    Ok(())
}

/// `text` with `line` as the section's only line for the repository, or `None` if there is no such section.
fn in_section(text: &str, section: &str, line: &str) -> Option<String> {
    let head = format!("[{section}]");
    let mut lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| *line == head)? + 1;
    let end = lines[start..].iter().position(|line| line.starts_with('[')).map_or(lines.len(), |length| start + length);
    match lines[start..end].iter().position(|line| line.starts_with("repository")) {
        Some(place) => lines[start + place] = line,
        None => {
            let last = lines[start..end].iter().rposition(|line| line.starts_with("license"))?;
            lines.insert(start + last + 1, line);
        }
    }
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::in_section;

    #[test]
    fn repository_is_entered_once_and_replaced_later() {
        let text = "[package]\nname = \"a\"\nlicense.workspace = true\n\n[features]\nrepository = []\n";
        let entered = in_section(text, "package", "repository.workspace = true").unwrap();
        let expected = "[package]\nname = \"a\"\nlicense.workspace = true\nrepository.workspace = true\n\n[features]\n\
                        repository = []\n";
        assert_eq!(entered, expected);
        assert_eq!(in_section(&entered, "package", "repository.workspace = true").unwrap(), expected);
        let replaced = in_section(&entered, "package", "repository = \"b\"").unwrap();
        assert_eq!(replaced, expected.replace("repository.workspace = true", "repository = \"b\""));
    }

    #[test]
    fn missing_section_is_noticed() {
        assert_eq!(in_section("[package]\nlicense = \"MIT\"\n", "workspace.package", "repository = \"a\""), None);
    }
}
