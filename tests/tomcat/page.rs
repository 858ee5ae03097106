//! The part of docs/tomcat.md that is made of the scripts and the differences.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::differences::{DIFFERENCES, Difference};
use crate::scripts;

const BEGIN: &str =
    "<!-- made by tests/tomcat.rs: to write it anew, TOMCAT_PAGE=overwrite cargo test --workspace --test tomcat -->\n";
const END: &str = "<!-- end of what is made -->\n";

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tomcat.md"))
}

/// The page as it is, and as it should be.
pub fn read() -> (String, String) {
    let page = std::fs::read_to_string(path()).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("where the made part begins");
    let (_, after) = rest.split_once(END).expect("where the made part ends");
    let should = format!("{before}{BEGIN}\n{}\n{END}{after}", made());
    (page, should)
}

pub fn write(page: &str) {
    std::fs::write(path(), page).unwrap();
}

fn made() -> String {
    let all = scripts::all();
    let count: usize = all.iter().map(|(_, scripts)| scripts.len()).sum();
    let differ: usize = DIFFERENCES.iter().map(|difference| difference.scripts.len()).sum();
    let mut made = format!("Of {count} scripts, {} have equal transcripts and {differ} differ.\n\n", count - differ);
    made += "## What was compared\n\nIn italics, what differs.\n\n";
    for (area, scripts) in &all {
        let names: Vec<String> = scripts
            .iter()
            .map(|script| match DIFFERENCES.iter().any(|difference| difference.scripts.contains(&script.name)) {
                true => format!("*{}*", script.name),
                false => script.name.to_owned(),
            })
            .collect();
        writeln!(made, "- **{area}**: {}.", names.join("; ")).unwrap();
    }
    made += "\n## What differs\n\n| Script | Tomcat alone | Ours alone | Rule |\n|---|---|---|---|\n";
    for Difference { scripts, tomcat, ours, rule } in DIFFERENCES {
        let scripts = scripts.join("; ");
        writeln!(made, "| {scripts} | {} | {} | {rule} |", lines(tomcat), lines(ours)).unwrap();
    }
    made
}

fn lines(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("`{line}`")).collect();
    if lines.is_empty() { "–".to_owned() } else { lines.join("<br>") }
}
