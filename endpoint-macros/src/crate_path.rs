//! The path to the runtime in generated code, from the manifest of the package that is compiled.
//!
//! A renamed dependency is found by its `package = "endpoint-runtime"`. For a crate that another one re-exports, the
//! manifest names the path: `[package.metadata.endpoint-runtime]` with `crate = "that_crate::path"`.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::quote;

const DEFAULT: &str = "endpoint_runtime";

thread_local! {
    /// The path of the attribute that is being expanded, if it is not the default.
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Reads the manifest, at the beginning of each attribute.
///
/// # Errors
/// The package does not depend on the runtime, and does not say where it is.
pub(crate) fn read_manifest() -> Result<(), &'static str> {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest = folder.as_ref().and_then(|folder| fs::read_to_string(Path::new(folder).join("Cargo.toml")).ok());
    // without cargo the default is as good as any
    let Some(manifest) = manifest else { return set(None) };
    let workspace = || {
        let above = Path::new(folder.as_ref()?).ancestors();
        let mut manifests = above.filter_map(|folder| fs::read_to_string(folder.join("Cargo.toml")).ok());
        manifests.find(|manifest| manifest.lines().any(|line| line.trim_start().starts_with("[workspace")))
    };
    match path_of(&manifest, workspace) {
        Some(path) => set(Some(path)),
        None => {
            Err("this package does not depend on `endpoint-runtime`. If another crate re-exports it, name the path in \
                     Cargo.toml: `[package.metadata.endpoint-runtime]` with `crate = \"that_crate::path\"`")
        }
    }
}

fn set(path: Option<String>) -> Result<(), &'static str> {
    CURRENT.set(path);
    Ok(())
}

/// The only path from generated code into the runtime.
pub(crate) fn runtime() -> TokenStream {
    let path = CURRENT.with_borrow(|path| path.as_ref().and_then(|path| path.parse::<TokenStream>().ok()));
    match path {
        Some(path) => quote!(#path::__private),
        None => quote!(::endpoint_runtime::__private),
    }
}

/// [`runtime`], with the location of `span` and its names: for tokens whose error must have one place.
pub(crate) fn runtime_at(span: Span) -> TokenStream {
    let located = runtime().into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    located.collect::<Vec<TokenTree>>().into_iter().collect()
}

/// Whether a path that begins with `ident` leads into the runtime.
pub(crate) fn begins_with(ident: &Ident) -> bool {
    if ident == DEFAULT {
        return true;
    }
    let name = ident.to_string();
    CURRENT.with_borrow(|path| {
        let path = path.as_deref().unwrap_or_default();
        path.trim_start_matches("::").split("::").next() == Some(&name) && name != "crate"
    })
}

/// The path of the runtime in a package with this manifest. `workspace` is the manifest of its workspace.
fn path_of(manifest: &str, workspace: impl FnOnce() -> Option<String>) -> Option<String> {
    let entries = entries(manifest);
    let of_facade = entries.iter().find(|entry| {
        matches!(&*entry.table, "package.metadata.endpoint-runtime" | "package.metadata.endpoint_runtime")
            && entry.key == "crate"
    });
    // or in braces
    let in_braces = entries.iter().find(|entry| {
        entry.table == "package.metadata" && matches!(&*entry.key, "endpoint-runtime" | "endpoint_runtime")
    });
    let in_braces = in_braces.and_then(|entry| {
        let (key, value) = entry.value.strip_prefix('{')?.split_once('=')?;
        string(value.trim()).filter(|_| key.trim() == "crate")
    });
    if let Some(path) = of_facade.and_then(|entry| string(&entry.value)).or(in_braces) {
        let is_relative = path.starts_with("crate::") || path.starts_with("::");
        return Some(if is_relative { path.to_owned() } else { format!("::{path}") });
    }
    let is_package = |name: &str| matches!(name, "endpoint-runtime" | "endpoint_runtime");
    let is_itself =
        |entry: &Entry| entry.table == "package" && entry.key == "name" && string(&entry.value).is_some_and(is_package);
    let mut dependencies = entries.iter().filter_map(|entry| Some((dependency(entry)?, entry)));
    if entries.iter().any(is_itself) || dependencies.clone().any(|(name, _)| is_package(&name)) {
        return Some(format!("::{DEFAULT}"));
    }
    let renamed = dependencies.clone().find(|(_, entry)| package(entry).is_some_and(is_package));
    let renamed = renamed.map(|(name, _)| name).or_else(|| {
        let workspace = self::entries(&workspace()?);
        let renamed = workspace.iter().filter(|entry| package(entry).is_some_and(is_package));
        let renamed: Vec<String> = renamed.filter_map(dependency).collect();
        dependencies.find(|(name, _)| renamed.contains(name)).map(|(name, _)| name)
    });
    renamed.map(|name| format!("::{}", name.replace('-', "_")))
}

/// A line of a manifest: `key = value` in a table. Of a dotted key, all but the last part belong to the table.
struct Entry {
    table: String,
    key: String,
    value: String,
}

/// The lines of a manifest that this file reads; it is no parser for every TOML.
fn entries(manifest: &str) -> Vec<Entry> {
    let mut table = String::new();
    let mut entries = Vec::new();
    let plain =
        |name: &str| name.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect::<Vec<_>>().join(".");
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            if let Some((name, _)) = header.trim_start_matches('[').split_once(']') {
                table = plain(name);
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let key = plain(key);
            let (inner, key) = key.rsplit_once('.').unwrap_or(("", &key));
            let table = [&*table, inner].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
            entries.push(Entry { table, key: key.to_owned(), value: value.trim().to_owned() });
        }
    }
    entries
}

/// The name of the dependency that the entry is part of.
fn dependency(entry: &Entry) -> Option<String> {
    let is_list = |table: &str| table.rsplit('.').next().is_some_and(|last| last.ends_with("dependencies"));
    if is_list(&entry.table) {
        return Some(entry.key.clone());
    }
    let (list, name) = entry.table.rsplit_once('.')?;
    is_list(list).then(|| name.to_owned())
}

/// The value of `package`, if the entry gives a dependency another name: `package = "…"` in a table, or in braces.
fn package(entry: &Entry) -> Option<&str> {
    dependency(entry)?;
    if entry.key == "package" {
        return string(&entry.value);
    }
    let (_, rest) = entry.value.strip_prefix('{')?.split_once("package")?;
    string(rest.trim_start().strip_prefix('=')?.trim_start())
}

/// The text of a string at the beginning of `value`.
fn string(value: &str) -> Option<&str> {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    value[1..].split(quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(manifest: &str) -> Option<String> {
        path_of(manifest, || None)
    }

    #[test]
    fn a_dependency_has_its_own_name_or_the_one_in_the_manifest() {
        for (manifest, expected) in [
            ("[dependencies]\nendpoint-runtime = \"0.1\"", "::endpoint_runtime"),
            ("[dependencies]\nendpoint-runtime.workspace = true", "::endpoint_runtime"),
            ("[dependencies.endpoint-runtime]\nversion = \"0.1\"", "::endpoint_runtime"),
            ("[package]\nname = \"endpoint-runtime\"", "::endpoint_runtime"),
            ("[dependencies]\nws = { version = \"0.1\", package = \"endpoint-runtime\" }", "::ws"),
            ("[dependencies]\nweb-socket = {package='endpoint-runtime',path='x'} # ours", "::web_socket"),
            ("[dependencies.ws]\nversion = \"0.1\"\npackage = \"endpoint-runtime\"", "::ws"),
            ("[dependencies]\nws.package = \"endpoint-runtime\"", "::ws"),
            ("[dev-dependencies]\nws = { package = \"endpoint-runtime\" }", "::ws"),
            ("[target.'cfg(unix)'.dependencies]\nws = { package = \"endpoint-runtime\" }", "::ws"),
            ("[package.metadata.endpoint-runtime]\ncrate = \"facade::ws\"", "::facade::ws"),
            ("[package.metadata]\nendpoint-runtime.crate = \"crate::ws\"", "crate::ws"),
            ("[package.metadata]\nendpoint-runtime = { crate = \"facade::ws\" }", "::facade::ws"),
            // the first previews' users may have both
            ("[dependencies]\nendpoint-runtime = \"1\"\nws = { package = \"endpoint-runtime\" }", "::endpoint_runtime"),
        ] {
            assert_eq!(path(manifest).as_deref(), Some(expected), "{manifest}");
        }
    }

    #[test]
    fn a_package_without_the_dependency_is_found() {
        assert_eq!(path("[package]\nname = \"app\"\n[dependencies]\nfacade = \"1\""), None);
        assert_eq!(path("# endpoint-runtime = \"1\"\n[features]\nws = [\"endpoint-runtime\"]"), None);
    }

    #[test]
    fn the_workspace_may_rename() {
        let root = "[workspace]\n[workspace.dependencies]\nws = { package = \"endpoint-runtime\", path = \"x\" }";
        let path = |manifest| path_of(manifest, || Some(root.to_owned()));
        assert_eq!(path("[dependencies]\nws.workspace = true").as_deref(), Some("::ws"));
        assert_eq!(path("[dependencies]\nws = { workspace = true }").as_deref(), Some("::ws"));
        assert_eq!(path("[dependencies]\nother = { workspace = true }"), None);
    }
}
