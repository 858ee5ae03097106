//! Writes a module for each chapter of the guide and each README, with the file as its documentation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let guide = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = guide.ancestors().nth(2).expect("the guide is in docs/guide").to_owned();
    let mut modules = String::new();
    for (prefix, folder) in [("en", guide.join("src")), ("zh_cn", guide.join("zh-CN/src")), ("root", root)] {
        // a chapter that is added or removed changes the folder
        println!("cargo::rerun-if-changed={}", folder.display());
        for file in markdown_files(&folder)? {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("chapters have plain names");
            let name = stem.to_lowercase().replace(|char: char| !char.is_ascii_alphanumeric(), "_");
            if prefix == "root" && !name.starts_with("readme") || name == "summary" {
                continue;
            }
            writeln!(modules, "#[doc = include_str!({file:?})]\nmod {prefix}_{name} {{}}").expect("a string takes it");
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("chapters.rs"), modules)
}

fn markdown_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    Ok(files)
}
