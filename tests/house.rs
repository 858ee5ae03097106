//! Guards the layout: a file names only rooms below its own, and only the outside crates that its room may use.
//!
//! If a test here fails, move the line that it names. Change a list only with a reason in the commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The folder of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The rooms of `endpoint-runtime/src`, top to bottom: a file names only its own room and rooms on lower steps. A room is
/// a folder, or a file beside `lib.rs`.
const STEPS: &[&[&str]] = &[
    &["testing"],
    &["server", "client"],
    &["container"],
    &["connection"],
    &["endpoint"],
    &["session"],
    &["scheduling", "cluster", "limits"],
    &["send_queue", "codec"],
    &["handshake", "transport"],
    &["observe"],
    &["error", "config"],
];

/// What stands outside the steps: the crate's face, what macros expand to, and what only the checks of the crate see.
/// Nobody names them.
const OUTSIDE: &[&str] = &["lib", "macro_support", "verification"];

/// The files of `endpoint-macros/src`, top to bottom, one on each step: a file names only files below it, so no two files
/// import each other, directly or through others.
const STAGES: &[&str] = &[
    "lib",
    "expand/endpoint",
    "expand/state_pattern",
    "expand/handler",
    "expand/replies",
    "expand/conversion",
    "expand/argument",
    "expand/event",
    "expand",
    "validate/endpoint",
    "validate/handler",
    "validate/parameter",
    // the model of what is valid
    "validate",
    "options/rates",
    "options/words",
    "options",
    "options/units",
    "options/table",
    "types",
    "template",
    "parse",
    "crate_path",
    "diagnostics",
];

/// Which rooms may name an outside crate, or the one item of it that stands here. A room's files go with it.
const CRATES: &[(&str, &[&str])] = &[
    ("axum", &["container", "transport"]),
    ("bytes", &["*"]),
    ("ciborium", &["codec"]),
    ("data_encoding", &["client", "handshake", "transport"]),
    ("endpoint_macros", &[]),
    ("endpoint_wire", &["*"]),
    ("flate2", &["wire"]),
    ("futures_core", &["container", "endpoint", "session", "transport"]),
    ("futures_sink", &["container", "transport"]),
    ("http", &["testing", "server", "client", "container", "handshake", "session"]),
    // what a client's server answered
    ("http::Response", &["error"]),
    ("http_body_util", &["testing", "server", "client", "container"]),
    ("httpdate", &["client"]),
    ("hyper", &["testing", "server", "client", "container", "transport"]),
    // the `:protocol` of an extended CONNECT, which is part of an HTTP/2 head
    ("hyper::ext::Protocol", &["handshake"]),
    ("hyper_util", &["testing", "server", "client", "container", "transport"]),
    ("inventory", &["container"]),
    ("listenfd", &["transport"]),
    ("metrics", &["container"]),
    ("multiversion", &["wire"]),
    ("opentelemetry", &["observe"]),
    ("percent_encoding", &["client", "handshake"]),
    ("pin_project_lite", &["container", "endpoint"]),
    ("prost", &["codec"]),
    ("rand", &["client", "container", "session", "cluster", "send_queue"]),
    ("rcgen", &["transport"]),
    ("rmp_serde", &["codec"]),
    // an ID may be part of a message; what a client of the test kit sends and expects
    ("serde", &["codec", "session", "testing"]),
    ("serde_json", &["codec"]),
    // the second for the tags of packets
    ("sha1", &["handshake", "cluster"]),
    ("simdutf8", &["wire"]),
    ("socket2", &["transport"]),
    // sockets and timers are awaited in these
    ("tokio", &["testing", "server", "client", "container", "connection", "cluster", "transport"]),
    // types without a task: an adapter of a stream, the half of a socket, a point in time, a worker
    ("tokio::io", &["session"]),
    ("tokio::net::tcp::OwnedWriteHalf", &["session", "send_queue"]),
    ("tokio::time::Instant", &["session", "scheduling", "cluster", "limits", "send_queue"]),
    // the interval of a task that ticks
    ("tokio::time::sleep", &["scheduling"]),
    ("tokio::runtime", &["scheduling"]),
    ("tokio::sync", &["scheduling"]),
    ("tokio::task::JoinHandle", &["session", "scheduling"]),
    ("tokio::task::yield_now", &["scheduling"]),
    ("tokio_rustls", &["transport"]),
    ("tokio_tungstenite", &["container", "transport"]),
    ("tokio_util", &["server", "client", "container", "connection", "scheduling", "cluster"]),
    ("tower_layer", &["container"]),
    ("tower_service", &["server", "container"]),
    (
        "tracing",
        &[
            "testing",
            "server",
            "client",
            "container",
            "connection",
            "endpoint",
            "session",
            "cluster",
            "transport",
            "observe",
        ],
    ),
    // the names in a certificate: the client's, and those of the server's own
    ("webpki", &["handshake", "transport"]),
    ("tracing_opentelemetry", &["observe"]),
    ("webpki_roots", &["transport"]),
];

/// Words that only some files may contain.
const WORDS: &[(&str, &[&str], &str)] = &[
    (
        "spawn",
        &[
            "testing",
            "testing/connection",
            // accept loops on all workers, and the watchdog; both end with the server
            "server/accept",
            "server/http",
            "server/service_manager",
            // the tasks of streams, in the tracker of the server
            "server/http2",
            "client/reconnect",
            "container/serving",
            "scheduling/flushers",
            "scheduling/session_tasks",
            "cluster/link",
            "cluster/membership",
            "cluster/memory",
            // its method for tasks that end with the node, which `receive` and `subscriptions` use
            "cluster/node",
            "cluster/receive",
            "cluster/subscriptions",
            "scheduling/ticks",
            // its public method, which uses the former
            "session/lifetime",
        ],
        "only these files spawn tasks, and a shutdown waits for each of them",
    ),
    (
        "catch_unwind",
        &[
            "client/reconnect",
            "container/erased_configurator",
            "container/registration",
            "container/serving",
            "endpoint/dispatch",
            "observe/destructors",
            "session/completion",
        ],
        "only these files call code of the application: handlers, constructors, configurators, callbacks, destructors",
    ),
    ("unsafe", &["wire/text"], "wire/text.rs is the one audited file with `unsafe` code"),
    (
        "from_validated",
        &["wire/text", "wire/decode", "wire/assemble"],
        "only the decoder knows that bytes were validated as UTF-8",
    ),
];

/// The most lines a file may have above its unit tests.
const LONG: usize = 500;

/// The most lines a function may have on the way of a message, with its signature, and the rooms on that way.
const LONG_FUNCTION: usize = 60;
const WAY: &[&str] = &["connection", "session", "scheduling", "send_queue", "transport", "wire"];

/// The step of a room; `None` if it has none.
fn step(steps: &[&[&str]], room: &str) -> Option<usize> {
    steps.iter().position(|step| step.contains(&room))
}

/// The room of a file: the folder it is in.
fn room_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

// ---- reading ----

struct Token {
    text: String,
    line: usize,
}

/// The tokens of a file in order, comments and unit tests left out.
fn tokens(source: &str) -> Vec<Token> {
    let stream: TokenStream = source.parse().expect("a file of Rust");
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, out: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let attribute = |tree: Option<&TokenTree>| match tree {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
                Some(group.stream().to_string().replace(' ', ""))
            }
            _ => None,
        };
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if attribute(trees.peek()).as_deref() == Some("cfg(test)") {
                    // the item behind it ends with its braces, or a semicolon
                    for tree in trees.by_ref() {
                        match tree {
                            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
                            _ => {}
                        }
                    }
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                out.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), out);
                out.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            other => out.push(Token { text: other.to_string(), line }),
        }
    }
}

/// A path as in `crate::wire::frame::OpCode`, by its segments, and the line it stands in.
type Named = (Vec<String>, usize);

/// Every path that begins with one of `first`; lists in braces are several paths.
fn paths(tokens: &[Token], first: &[&str]) -> Vec<Named> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        // `x: http::Y` and `use ::http::Y` begin a path, `a::http::Y` and `a.http` do not
        let before = |count: usize| index.checked_sub(count).map_or("", |index| tokens[index].text.as_str());
        let continues = before(1) == "."
            || (before(1), before(2)) == (":", ":")
                && before(3) != "use"
                && before(3).ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | '>'));
        if first.contains(&token.text.as_str()) && !continues {
            follow(tokens, index, &mut Vec::new(), &mut found);
        }
    }
    found.retain(|(path, _)| path.len() > 1);
    found
}

/// Follows one path from its segment at `index`; returns where it ends.
fn follow(tokens: &[Token], index: usize, path: &mut Vec<String>, found: &mut Vec<Named>) -> usize {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    path.push(text(index).to_owned());
    let line = tokens[index].line;
    let mut end = index + 1;
    if (text(end), text(end + 1)) == (":", ":") {
        end += 2;
        if text(end) == "{" {
            end += 1;
            while !matches!(text(end), "}" | "") {
                end = follow(tokens, end, path, found);
                // an alias, and the comma
                while !matches!(text(end), "," | "}" | "") {
                    end += 1;
                }
                end += usize::from(text(end) == ",");
            }
            path.pop();
            return end + 1;
        }
        if text(end).starts_with(|first: char| first.is_alphabetic() || first == '_') {
            end = follow(tokens, end, path, found);
            path.pop();
            return end;
        }
    }
    found.push((path.clone(), line));
    path.pop();
    end
}

/// The imports of a file.
#[derive(Default)]
struct Imports {
    /// What a `pub use` names, by its new name.
    exported: BTreeMap<String, Vec<String>>,
    /// Everything else. What a `mod.rs` only re-exports is not in it.
    named: Vec<Named>,
}

/// The imports of a file; `children` are the modules that it declares, if it is a `mod.rs`.
fn imports(source: &str, children: &[&str]) -> Imports {
    let tokens = tokens(source);
    let text = |index: usize| tokens.get(index).map_or("", |token: &Token| token.text.as_str());
    let (mut imports, mut others, mut index) = (Imports::default(), Vec::new(), 0);
    while index < tokens.len() {
        let mut start = index;
        if text(start) == "pub" {
            start += 1;
            if text(start) == "(" {
                start += (start..tokens.len()).position(|index| text(index) == ")").unwrap_or_default() + 1;
            }
        }
        if start == index || text(start) != "use" {
            others.push(index);
            index += 1;
            continue;
        }
        let mut found = Vec::new();
        index = follow(&tokens, start + 1, &mut Vec::new(), &mut found);
        if children.is_empty() {
            imports.named.extend(found.iter().cloned());
        }
        let names = found.into_iter().map(|(path, _)| (path.last().cloned().unwrap_or_default(), path));
        imports.exported.extend(names);
    }
    let others: Vec<Token> =
        others.into_iter().map(|at| Token { text: text(at).into(), line: tokens[at].line }).collect();
    imports.named.extend(paths(&others, &[&["crate", "super", "self"], children].concat()));
    // what a `mod.rs` re-exports and uses as well
    for (name, path) in &imports.exported {
        imports.named.extend(others.iter().find(|token| token.text == *name).map(|token| (path.clone(), token.line)));
    }
    imports
}

// ---- judging ----

/// Every path of `file` that names its own step or a higher one, in a crate with these steps.
fn step_mistakes(steps: &[&[&str]], file: &str, source: &str) -> Vec<String> {
    let room = room_of(file);
    let Some(own) = step(steps, room) else {
        return vec![format!("{file}.rs is not in a room that tests/house.rs lists: move it into one")];
    };
    let mut mistakes = Vec::new();
    for (path, line) in paths(&tokens(source), &["crate", "super"]) {
        let is_inside = path[0] == "super" && file.contains('/');
        let named = if is_inside { room } else { path[1].as_str() };
        let path = path.join("::");
        match step(steps, named) {
            None => {
                mistakes.push(format!("{file}.rs:{line} names `{path}`, which is not in a room: name it by its room"))
            }
            Some(below) if named != room && below <= own => mistakes.push(format!(
                "{file}.rs:{line} names `{path}`, but `{named}` is not below `{room}`: move the line up, or move what \
                 it needs down"
            )),
            Some(_) => {}
        }
    }
    mistakes
}

/// The segments of a path in `file` from the crate's root, which is the folder `root`.
fn from_root(root: &[&str], file: &str, path: &[String]) -> Vec<String> {
    let own = || file.split('/').map(str::to_owned);
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    let (inside, rest): (Vec<String>, _) = match path[0].as_str() {
        "crate" => (root.iter().map(|segment| (*segment).to_owned()).collect(), &path[1..]),
        "super" => (own().take(own().count().saturating_sub(supers)).collect(), &path[supers..]),
        "self" => (own().collect(), &path[1..]),
        _ => (own().collect(), path),
    };
    [inside, rest.to_vec()].concat()
}

/// The circles of imports between the files of each room, as chains with the line of each import. A path counts for the
/// file that defines its item, not for the `mod.rs` that re-exports it.
fn circles(root: &[&str], files: &[(String, String)]) -> Vec<String> {
    let imports: BTreeMap<&str, Imports> = files
        .iter()
        .map(|(file, source)| {
            let inside = format!("{file}/");
            let children = files.iter().filter_map(|(other, _)| other.strip_prefix(&inside));
            let children: Vec<&str> = children.filter(|child| !child.contains('/')).collect();
            (file.as_str(), imports(source, &children))
        })
        .collect();
    let defines = |file: &str, path: &[String]| {
        let mut segments = from_root(root, file, path);
        // a re-export may be of a re-export
        for _ in 0..8 {
            let count =
                (1..=segments.len()).rev().find(|count| imports.contains_key(&*segments[..*count].join("/")))?;
            let named = segments[..count].join("/");
            match segments.get(count).and_then(|item| imports[&*named].exported.get(item)) {
                Some(path) => segments = [from_root(root, &named, path), segments[count + 1..].to_vec()].concat(),
                None => return Some(named),
            }
        }
        None
    };
    let mut graph: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for (file, imports) in &imports {
        let named = imports.named.iter().filter_map(|(path, line)| Some((defines(file, path)?, *line)));
        let named = named.filter(|(named, _)| named != file && room_of(named) == room_of(file));
        named.for_each(|(named, line)| {
            graph.entry(file).or_default().entry(named).or_insert(line);
        });
    }
    let found: BTreeSet<String> = graph.keys().filter_map(|file| circle(&graph, file)).collect();
    found.into_iter().collect()
}

/// The shortest circle through `file`, if `file` is the first of its files in alphabetical order.
fn circle(graph: &BTreeMap<&str, BTreeMap<String, usize>>, file: &str) -> Option<String> {
    let mut chains = VecDeque::from([vec![file.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(chain) = chains.pop_front() {
        for next in graph.get(chain.last()?.as_str()).into_iter().flat_map(BTreeMap::keys) {
            let chain = [chain.clone(), vec![next.clone()]].concat();
            if next == file {
                let lines = chain.windows(2).map(|two| format!("{}.rs:{}", two[0], graph[&*two[0]][&two[1]]));
                return Some(format!("{} → {file}", lines.collect::<Vec<_>>().join(" → ")));
            }
            // a circle counts once, from its first file on
            if next.as_str() > file && seen.insert(next.clone()) {
                chains.push_back(chain);
            }
        }
    }
    None
}

/// Whether `room` is `place`, or a file in its folder.
fn is_in(room: &str, place: &str) -> bool {
    room.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn crate_mistakes(room: &str, source: &str) -> Vec<String> {
    let names: Vec<&str> = CRATES.iter().map(|(name, _)| *name).filter(|name| !name.contains(':')).collect();
    let mut mistakes = Vec::new();
    for (path, line) in paths(&tokens(source), &names) {
        let path = path.join("::");
        let is_within = |prefix: &str| path.strip_prefix(prefix).is_some_and(|r| r.is_empty() || r.starts_with("::"));
        let allowed = CRATES
            .iter()
            .filter(|(prefix, _)| is_within(prefix))
            .any(|(_, rooms)| rooms.iter().any(|allowed| matches!(*allowed, "*") || is_in(room, allowed)));
        if !allowed {
            let rooms: Vec<&str> = CRATES.iter().filter(|(p, _)| is_within(p)).flat_map(|(_, r)| *r).copied().collect();
            mistakes.push(format!(
                "{room}.rs:{line} names `{path}`: only {} may use it; move the line there, or remove it",
                rooms.join(", ")
            ));
        }
    }
    mistakes
}

fn word_mistakes(room: &str, source: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    for token in tokens(source) {
        for (word, rooms, reason) in WORDS {
            if token.text == *word && !rooms.contains(&room) {
                mistakes.push(format!("{room}.rs:{} has `{word}`: {reason}; move the line there", token.line));
            }
        }
    }
    mistakes
}

fn length_mistakes(room: &str, source: &str) -> Vec<String> {
    let lines = source.lines().position(|line| line == "#[cfg(test)]").unwrap_or(source.lines().count());
    if lines <= LONG {
        return Vec::new();
    }
    vec![format!("{room}.rs has {lines} lines above its tests, {LONG} at most: move a part into another file")]
}

/// The functions of a file above its tests that are too long. The format decides where one ends: at the brace below the
/// first letter of its line.
fn function_mistakes(room: &str, source: &str) -> Vec<String> {
    if !WAY.contains(&room_of(room)) && room != "endpoint/dispatch" {
        return Vec::new();
    }
    let lines: Vec<&str> = source.lines().take_while(|line| *line != "#[cfg(test)]").collect();
    let mut mistakes = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some((before, name)) = line.split_once("fn ") else { continue };
        let is_qualifier =
            |word: &str| word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(&word);
        // a word of a comment, or a declaration without a body
        if !before.split_whitespace().all(is_qualifier) || line.ends_with(';') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        let count = lines[first..].iter().position(|line| **line == *end).map_or(0, |last| last + 1);
        if count > LONG_FUNCTION {
            let name = name.split(['(', '<']).next().unwrap_or(name);
            let place = first + 1;
            mistakes.push(format!(
                "{room}.rs:{place}: `{name}` has {count} lines, {LONG_FUNCTION} at most: give a part a name"
            ));
        }
    }
    mistakes
}

// ---- the real house ----

/// Each file below `folder` as its room and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn collect(root: &Path, folder: &Path, out: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let room = path.strip_prefix(root).unwrap().with_extension("");
                let room = room.to_str().unwrap().replace('\\', "/");
                let room = room.strip_suffix("/mod").map_or(room.clone(), str::to_owned);
                out.push((room, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(ROOT).join(folder);
    let mut out = Vec::new();
    collect(&root, &root, &mut out);
    assert!(out.len() > 5, "{} is not a crate", root.display());
    out.sort();
    out
}

/// Asks `judge` about every file of the runtime, and of the wire crate as if it were the lowest room.
fn data_path(judge: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let mut mistakes = runtime(&judge);
    for (file, source) in sources("endpoint-wire/src") {
        mistakes.extend(judge(&format!("wire/{file}"), &source));
    }
    mistakes
}

/// Asks `judge` about every file of the runtime.
fn runtime(judge: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let files = sources("endpoint-runtime/src").into_iter().filter(|(file, _)| !OUTSIDE.contains(&room_of(file)));
    files.flat_map(|(file, source)| judge(&file, &source)).collect()
}

#[track_caller]
fn assert_none(mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn rooms_name_only_lower_rooms() {
    assert_none(runtime(|file, source| step_mistakes(STEPS, file, source)));
}

#[test]
fn files_of_a_room_do_not_import_each_other_in_a_circle() {
    let runtime = sources("endpoint-runtime/src");
    let wire = sources("endpoint-wire/src").into_iter().map(|(file, source)| match file.as_str() {
        "lib" => ("wire".to_owned(), source),
        _ => (format!("wire/{file}"), source),
    });
    let mut found = circles(&[], &runtime);
    found.extend(circles(&["wire"], &wire.collect::<Vec<_>>()));
    assert_none(found);
}

#[test]
fn architecture_shows_the_same_steps() {
    let text = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## The order of the rooms").nth(1).expect("the section about their order");
    let shown = section.split("```").nth(1).expect("the steps in a block");
    let shown: Vec<Vec<&str>> = shown.split('→').map(|step| step.split(',').map(str::trim).collect()).collect();
    assert_eq!(shown, STEPS, "ARCHITECTURE.md and tests/house.rs show different steps");
}

#[test]
fn outside_crates_are_named_only_where_they_belong() {
    assert_none(data_path(crate_mistakes));
}

#[test]
fn restricted_calls_appear_only_in_their_files() {
    assert_none(data_path(word_mistakes));
}

/// Enums that only generated code, fuzz targets and the crates themselves see.
const INTERNAL_ENUMS: &[&str] = &["Part", "Fed", "Mode", "Sharing", "Found"];

#[test]
fn public_enums_may_grow_or_say_why_they_cannot() {
    let sources: Vec<_> = ["endpoint-runtime/src", "endpoint-wire/src"].into_iter().flat_map(sources).collect();
    let mut seen = 0;
    for (file, source) in &sources {
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = line.strip_prefix("pub enum ") else { continue };
            let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let above =
                lines[..index].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
            let may_grow = above.clone().any(|line| *line == "#[non_exhaustive]");
            let is_closed = above.clone().any(|line| line.contains("Exhaustive"));
            seen += 1;
            assert!(
                may_grow || is_closed || INTERNAL_ENUMS.contains(&name),
                "{file}.rs:{}: `{name}` needs #[non_exhaustive], or a line of documentation \"Exhaustive: …\"",
                index + 1
            );
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn published_code_has_no_let_chains() {
    // Rust 1.85, the declared minimum, does not parse them, and a newer compiler does not complain
    for folder in ["endpoint-macros/src", "endpoint-redis/src", "endpoint-runtime/src", "endpoint-wire/src"] {
        for (file, source) in sources(folder) {
            let tokens = tokens(&source);
            let found =
                tokens.windows(3).find(|three| three[0].text == "&" && three[1].text == "&" && three[2].text == "let");
            assert!(
                found.is_none(),
                "{folder}/{file}.rs:{}: nest two `if` instead",
                found.map_or(0, |three| three[2].line)
            );
        }
    }
}

#[test]
fn files_are_not_too_long() {
    assert_none(data_path(length_mistakes));
}

#[test]
fn every_room_of_the_lists_exists() {
    let mut rooms: Vec<String> = sources("endpoint-runtime/src").into_iter().map(|(room, _)| room).collect();
    rooms.push("wire".to_owned());
    rooms.extend(sources("endpoint-wire/src").into_iter().map(|(file, _)| format!("wire/{file}")));
    let listed = STEPS.iter().copied().flatten().chain(OUTSIDE);
    let listed = listed.chain(CRATES.iter().flat_map(|(_, rooms)| *rooms).filter(|room| **room != "*"));
    let listed = listed.chain(WORDS.iter().flat_map(|(_, rooms, _)| *rooms));
    for room in listed {
        assert!(rooms.iter().any(|there| there == room), "tests/house.rs lists `{room}`, which is not a file");
    }
}

/// The names of the packages that a manifest depends on.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = Path::new(ROOT).join(folder).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let section = manifest.split("[dependencies]").nth(1).expect("a section of dependencies");
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('['));
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(['=', '.', ' ']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_dependency_has_its_rooms() {
    let names = dependencies("endpoint-runtime");
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(
            CRATES.iter().any(|(known, _)| *known == name.replace('-', "_")),
            "`{name}` is a dependency of endpoint-runtime: name the rooms that may use it in tests/house.rs"
        );
    }
}

#[test]
fn wire_crate_depends_on_no_socket_no_runtime_and_no_http() {
    assert_eq!(dependencies("endpoint-wire"), ["bytes", "flate2", "multiversion", "simdutf8"]);
}

/// Every path of `file` to a file of the macros that is not below it.
fn stage_mistakes(file: &str, source: &str) -> Vec<String> {
    let stage = |file: &str| STAGES.iter().position(|stage| *stage == file);
    let Some(own) = stage(file) else {
        return vec![format!("{file}.rs has no stage: give it one in tests/house.rs")];
    };
    // a `mod.rs` names the files of its folder without `crate`, too
    let children: Vec<&str> = STAGES.iter().filter_map(|other| other.strip_prefix(file)?.strip_prefix('/')).collect();
    let starts = [&["crate", "super", "self"], &children[..]].concat();
    let mut mistakes = Vec::new();
    for (path, line) in paths(&tokens(source), &starts) {
        let inside: Vec<&str> = match (path[0].as_str(), file.rsplit_once('/')) {
            ("crate", _) | ("super", None) => Vec::new(),
            ("super", Some((folder, _))) => vec![folder],
            _ => vec![file],
        };
        let skipped = usize::from(!children.contains(&path[0].as_str()));
        let segments = [inside, path[skipped..].iter().map(String::as_str).collect()].concat();
        let named = [2, 1].into_iter().filter_map(|count| Some(segments.get(..count)?.join("/")));
        let named = named.into_iter().find_map(|named| Some((stage(&named)?, named)));
        let path = path.join("::");
        match named {
            None => mistakes.push(format!("{file}.rs:{line} names `{path}`, which is not in a file of tests/house.rs")),
            Some((below, named)) if below < own || below == own && named != file => {
                mistakes.push(format!("{file}.rs:{line} names `{path}`, but `{named}` is not below `{file}`"));
            }
            Some(_) => {}
        }
    }
    mistakes
}

#[test]
fn macros_go_down_their_stages() {
    let sources = sources("endpoint-macros/src");
    assert_none(sources.iter().flat_map(|(file, source)| stage_mistakes(file, source)).collect());
    for (index, stage) in STAGES.iter().enumerate() {
        assert!(sources.iter().any(|(file, _)| file == stage), "tests/house.rs lists `{stage}`, which is not a file");
        assert!(!STAGES[..index].contains(stage), "tests/house.rs lists `{stage}` twice");
    }
}

#[test]
fn files_of_the_macros_are_not_too_long() {
    let sources = sources("endpoint-macros/src");
    assert_none(sources.iter().flat_map(|(file, source)| length_mistakes(file, source)).collect());
}

#[test]
fn expanding_a_macro_neither_parses_nor_fails() {
    let sources = sources("endpoint-macros/src");
    let expand: Vec<_> = sources.iter().filter(|(file, _)| is_in(file, "expand")).collect();
    assert!(expand.len() > 1, "{expand:?}");
    for (file, source) in expand {
        for (path, line) in paths(&tokens(source), &["syn"]) {
            assert!(
                !matches!(path[1].as_str(), "parse" | "parse2" | "parse_str" | "parse_quote" | "Error" | "Result"),
                "{file}.rs:{line} names `{}`: code that can fail belongs to parse or validate",
                path.join("::")
            );
        }
    }
}

#[test]
fn every_test_file_is_in_the_manifest() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("tests/Cargo.toml")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(Path::new(ROOT).join("tests")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".rs") else { continue };
        let target = format!("[[test]]\nname = \"{name}\"\npath = \"{file}\"\n");
        assert!(manifest.contains(&target), "cargo does not run tests/{file}: add to tests/Cargo.toml\n{target}");
        count += 1;
    }
    assert!(count > 5, "{count} test files");
}

// ---- the guard itself ----

fn on_steps(file: &str, source: &str) -> Vec<String> {
    step_mistakes(STEPS, file, source)
}

#[test]
fn guard_finds_an_upward_import() {
    let source = "use crate::error::Error;\n\nuse crate::container::Shutdown;\n";
    assert_eq!(
        on_steps("session/rooms", source),
        [
            "session/rooms.rs:3 names `crate::container::Shutdown`, but `container` is not below `session`: move the line \
          up, or move what it needs down"
        ]
    );
}

#[test]
fn guard_finds_paths_in_lists_in_bodies_in_macros_and_in_types() {
    for source in [
        "use crate::{error::Error, session::Session};",
        "use crate::{error::{self, excerpt as f}, session as other};",
        "fn f() { let x = crate::session::Session::new(); }",
        "fn f(x: crate::session::Session) {}",
        "fn f(x: &'a crate::session::Session) {}",
        "fn f() { println!(\"{}\", crate::session::OFF); }",
        "pub(crate) use crate::session::{Session};",
        "impl From<crate::session::Session> for X {}",
        "#[cfg(not(test))] use crate::session::Session;",
    ] {
        let mistakes = on_steps("send_queue/item", source);
        assert_eq!(mistakes.len(), 1, "{source}: {mistakes:?}");
        assert!(mistakes[0].contains("`session` is not below `send_queue`"), "{mistakes:?}");
    }
}

#[test]
fn guard_keeps_rooms_on_one_step_apart() {
    assert!(on_steps("codec/json", "use crate::send_queue::SendQueue;")[0].contains("is not below `codec`"));
    assert!(on_steps("codec/json", "use crate::codec::Encode; use super::Encode;").is_empty());
    assert!(on_steps("config", "use crate::error::Error;")[0].contains("`error` is not below `config`"));
    assert!(on_steps("config", "use endpoint_wire::mask;").is_empty());
}

#[test]
fn guard_accepts_downward_paths_and_text() {
    for source in [
        "use crate::error::{Error, excerpt::{self, cut}}; use endpoint_wire::frame::OpCode;",
        "// crate::session::Session\n/* crate::session */\n/// See [`crate::session::Session`].\nstruct X;",
        "const X: &str = \"crate::session::Session\"; const Y: &str = r#\"use crate::session;\"#;",
        "#[cfg(test)]\nmod tests { use crate::session::Session; }",
        "#[cfg(test)] use crate::session::Session;\nstruct X;",
        "#[cfg(test)]\n#[allow(dead_code)]\nfn f() { crate::session::f() }",
        "pub(crate) fn f() {}",
    ] {
        assert_eq!(on_steps("send_queue/item", source), [""; 0], "{source}");
    }
}

#[test]
fn guard_checks_code_after_unit_tests() {
    let source = "#[cfg(test)]\nmod tests { use crate::session::Session; }\nuse crate::container::Shutdown;";
    assert!(on_steps("send_queue/item", source)[0].starts_with("send_queue/item.rs:3 names `crate::container"));
}

#[test]
fn guard_rejects_reexports() {
    assert!(on_steps("send_queue", "use crate::Session;")[0].contains("which is not in a room"));
    assert!(on_steps("send_queue", "use crate::macro_support::Session;")[0].contains("which is not in a room"));
}

#[test]
fn guard_requires_a_room_for_a_new_file() {
    assert!(on_steps("deflate", "")[0].contains("deflate.rs is not in a room"));
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect();
    circles(&[], &files)
}

#[test]
fn guard_finds_circles_in_a_room() {
    for files in [
        &[("room", "mod a; mod b;"), ("room/a", "use super::b::B;"), ("room/b", "\nfn f(x: crate::room::a::A) {}")][..],
        // through a re-export
        &[
            ("room", "mod a; mod b; pub use self::b::{self, B}; pub(crate) use self::a::A;"),
            ("room/a", "use super::B;"),
            ("room/b", "\nuse crate::room::{A, c::C};"),
        ],
        &[("room", "mod a; mod b;"), ("room/a", "pub use super::b::B;"), ("room/b", "\nuse super::a::A;")],
    ] {
        assert_eq!(circles_of(files), ["room/a.rs:1 → room/b.rs:2 → room/a"], "{files:?}");
    }
    let three = [("room/a", "use super::b::B;"), ("room/b", "use super::c::C;"), ("room/c", "use super::a::A;")];
    assert_eq!(circles_of(&three), ["room/a.rs:1 → room/b.rs:1 → room/c.rs:1 → room/a"]);
}

#[test]
fn guard_finds_a_child_that_names_what_its_parent_defines() {
    for (parent, child) in [
        ("mod a; use self::a::A; struct X;", "use super::X;"),
        ("mod a; struct X(a::A);", "use crate::room::X;"),
        ("mod a; pub use self::a::A; struct X(A);", "use super::*; fn f() { super::X::new() }"),
    ] {
        let files = [("room", parent), ("room/a", child)];
        assert_eq!(circles_of(&files), ["room.rs:1 → room/a.rs:1 → room"], "{files:?}");
    }
}

#[test]
fn guard_lets_files_pass_that_only_look_one_way() {
    for files in [
        // a parent that only declares and re-exports, or that defines and does not use
        &[
            ("room", "mod a; mod b; pub use self::a::A; struct X;"),
            ("room/a", "use super::X;"),
            ("room/b", "use super::{A, X};"),
        ][..],
        &[("room", "mod a; fn f() { a::g(self.a) }"), ("room/a", "#[cfg(test)] mod tests { use super::super::f; }")],
        // circles between rooms are impossible otherwise
        &[("room/a", "use crate::other::b::B;"), ("other/b", "use crate::room::a::A;")],
        &[("room", "mod a; use self::a::A;"), ("room/a", "use super::super::other::X; use self::A as B;")],
    ] {
        assert_eq!(circles_of(files), [""; 0], "{files:?}");
    }
}

#[test]
fn guard_finds_circles_in_the_macros() {
    for (file, source) in [
        ("expand/event", "use crate::expand::handler::body;"),
        ("expand/event", "use super::handler::body;"),
        ("types", "use crate::validate::Handler;"),
        ("expand", "fn f() { event::g() }"),
        ("expand", "use self::event::g;"),
    ] {
        let mistakes = stage_mistakes(file, source);
        assert_eq!(mistakes.len(), 1, "{source}: {mistakes:?}");
        assert!(mistakes[0].contains("is not below"), "{mistakes:?}");
    }
}

#[test]
fn guard_accepts_downward_imports_in_the_macros() {
    for (file, source) in [
        ("expand/handler", "use crate::expand::{event, runtime};"),
        ("expand/handler", "use super::runtime;"),
        ("expand", "mod event; fn f(self) { self.g(crate::validate::g()) }"),
        ("lib", "fn f() { parse::keyword() }"),
    ] {
        assert_eq!(stage_mistakes(file, source), [""; 0], "{source}");
    }
    assert!(stage_mistakes("expand/other", "")[0].contains("has no stage"));
}

#[test]
fn guard_finds_outside_crates_in_the_wrong_room() {
    for (file, source, named) in [
        ("wire/frame", "use tokio::time::Instant;", "tokio::time::Instant"),
        ("wire/close", "fn f(x: http::StatusCode) {}", "http::StatusCode"),
        ("session/rooms", "use hyper::upgrade::Upgraded;", "hyper::upgrade::Upgraded"),
        ("send_queue", "use tokio::time::{Instant, sleep};", "tokio::time::sleep"),
        ("endpoint/dispatch", "async fn f() { tokio::select! {} }", "tokio::select"),
        ("handshake/server", "use ::tokio::net::TcpStream;", "tokio::net::TcpStream"),
    ] {
        let mistakes = crate_mistakes(file, source);
        assert_eq!(mistakes.len(), 1, "{source}: {mistakes:?}");
        assert!(mistakes[0].contains(&format!("names `{named}`")), "{mistakes:?}");
    }
}

#[test]
fn guard_accepts_outside_crates_in_their_rooms() {
    for (file, source) in [
        ("send_queue/waiters", "use tokio::time::Instant;"),
        ("container/registration", "use tokio::net::TcpStream;"),
        ("connection/timers", "use tokio::time::{Instant, Sleep, sleep_until};"),
        ("session/identity", "use http::HeaderMap;"),
        ("wire/mask", "// tokio::spawn\nfn f(http: u8) -> u8 { crate::wire::http::x(); http }"),
        ("config", "#[cfg(test)] mod tests { fn f() { tokio::spawn(x) } }"),
    ] {
        assert_eq!(crate_mistakes(file, source), [""; 0], "{source}");
    }
}

#[test]
fn guard_finds_words_in_the_wrong_file() {
    let unsafe_block = "fn f() { unsafe { g() } }";
    assert!(word_mistakes("connection/io", unsafe_block)[0].starts_with("connection/io.rs:1 has `unsafe`"));
    assert!(word_mistakes("session", "\nfn f() { Text::from_validated(x) }")[0].starts_with("session.rs:2 has"));
    assert!(word_mistakes("session", "fn f() { tokio::spawn(x); }")[0].contains("a shutdown waits for each"));
    assert!(word_mistakes("wire/text", unsafe_block).is_empty());
    assert!(word_mistakes("wire/decode", "fn f() { Text::from_validated(x) }").is_empty());
    assert!(word_mistakes("session", "#![deny(unsafe_code)] // unsafe\nconst X: &str = \"unsafe\";").is_empty());
}

#[test]
fn guard_measures_files_above_their_tests() {
    let long = "\n".repeat(LONG + 1);
    assert!(length_mistakes("session", &long)[0].contains(&format!("{} lines", LONG + 1)));
    assert!(length_mistakes("session", &"\n".repeat(LONG)).is_empty());
    assert!(length_mistakes("session", &format!("#[cfg(test)]\n{long}")).is_empty());
}

#[test]
fn guard_measures_functions_on_the_way_of_a_message() {
    let function = |lines: usize| format!("impl A {{\n    pub(crate) fn long(\n{}    }}\n}}\n", "\n".repeat(lines - 2));
    assert!(function_mistakes("connection/io", &function(LONG_FUNCTION)).is_empty());
    let mistakes = function_mistakes("connection/io", &function(LONG_FUNCTION + 1));
    assert!(mistakes[0].contains("connection/io.rs:2: `long` has 61 lines"), "{mistakes:?}");
    assert!(function_mistakes("container/adopt", &function(LONG_FUNCTION + 1)).is_empty());
}
