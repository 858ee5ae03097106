//! Guards the house: a file names only rooms further down the staircase, and only the outside crates its room may use.
//!
//! If this complains, move the line it names; change a list only with a reason in the commit.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The rooms of `endpoint-runtime/src` from the front door down: a file names only what stands below it. Rooms on one
/// step may name each other. `lib`, `private`, `fuzzing`, `measuring` and `models` stand outside, and nobody names them.
const STAIRCASE: &[&[&str]] = &[
    &["testing"],
    &["testing/client"],
    &["testing/connection"],
    &["testing/transcript"],
    &["testing/frame"],
    &["server"],
    &["server/when_woken"],
    // more of what a request can be told: an impl block of the same type
    &["client", "client/reconnect", "client/request"],
    &["client/retry"],
    &["client/dial"],
    &["client/exchange"],
    &["client/proxy"],
    &["client/target"],
    &["layer"],
    &[
        "service",
        "service/adopted",
        "service/admission",
        "service/limits",
        "service/mounting",
        "service/opening",
        "service/upgrade",
    ],
    &["tls", "tls/trust"],
    &["router"],
    &["registry", "registry/configured"],
    &["programmatic"],
    &["configurator"],
    // the two sides of it
    &["handshake", "handshake/offer"],
    &["handshake/extensions"],
    &["handshake/head", "handshake/origins"],
    &["handshake/hosts"],
    &["handshake/refusal"],
    &["connection"],
    // the sides of one link: impl blocks of the same type
    &[
        "link",
        "link/added",
        "link/clock",
        "link/closing",
        "link/inbound",
        "link/outgoing",
        "link/streaming",
        "link/unfinished",
    ],
    &["dispatch"],
    &["endpoint"],
    &["coders/choice"],
    &["coders"],
    &[
        "session",
        "session/handlers",
        "session/identity",
        "session/open_set",
        "session/rooms",
        "session/weak",
        "broadcast",
        // what a session keeps may be called with it
        "rare",
        "handlers",
    ],
    &["session/chunks"],
    &["deadlines", "quantum", "flushers"],
    &["per_runtime"],
    &["remote"],
    &["sent"],
    &["writer", "stream"],
    // the sides of one queue: impl blocks of the same type
    &[
        "outbound",
        "outbound/batch",
        "outbound/direct_write",
        "outbound/counted",
        "outbound/emptying",
        "outbound/line",
        "outbound/overflow",
        "outbound/parts",
        "outbound/running",
    ],
    &["outbound/waiting", "outbound/outgoing", "outbound/refused"],
    &["frames", "frames/burst", "frames/masking"],
    // the messages of each library
    &["message_socket", "message_socket/axum", "message_socket/tungstenite"],
    &["keepalive", "socket"],
    &["negotiated", "event"],
    &["json", "msgpack", "cbor", "protobuf"],
    &["codec"],
    &["codec/wrapper"],
    // a loop over bytes for each format
    &["codec/nesting", "codec/nesting/cbor", "codec/nesting/json", "codec/nesting/msgpack"],
    &["listed"],
    &["request"],
    // wire is pure: below it are the words, and nothing else
    &["wire/decode"],
    &["wire/assemble"],
    &["wire/deflate"],
    &["wire/deflate/history"],
    &["wire/encode"],
    &["wire/event"],
    &["wire/compression"],
    &["wire/frame", "wire/mask", "wire/utf8"],
    &["wire"],
    // the shared words
    &["path"],
    &["config"],
    &["state"],
    &["principal"],
    &["extension"],
    &["role"],
    &["buffer"],
    &["budget"],
    &["close"],
    &["log_rate"],
    &["destructors"],
    &["sync"],
    // an error keeps the message that did not decode
    &["error"],
    &["message", "text"],
    &["brief"],
];

const OUTSIDE: &[&str] =
    &["lib", "private", "fuzzing", "measuring", "models", "models/flusher", "models/send_queue", "models/session_sets"];

/// The stages of `endpoint-macros/src`, in the same way. `settings` is a part of `validate` in a file of its own.
const STAGES: &[&[&str]] =
    &[&["lib"], &["expand", "events"], &["validate", "settings"], &["spelling"], &["template"], &["parse"]];

/// Which rooms may name an outside crate, or the one item of it that stands here. A room's own folder goes with it.
const CRATES: &[(&str, &[&str])] = &[
    ("axum", &["message_socket/axum", "service/adopted"]),
    ("bytes", &["*"]),
    ("ciborium", &["cbor"]),
    ("data_encoding", &["client/target", "handshake/offer", "tls"]),
    ("endpoint_macros", &[]),
    ("flate2", &["wire/deflate"]),
    ("futures_core", &["message_socket", "service/adopted", "stream"]),
    ("futures_sink", &["message_socket", "service/adopted"]),
    ("http", &["testing", "server", "client", "layer", "service", "configurator", "handshake", "session", "request"]),
    // what a client's server answered
    ("http::Response", &["error"]),
    ("http_body_util", &["testing", "server", "client", "layer", "service"]),
    ("httpdate", &["client/retry"]),
    ("hyper", &["testing", "server", "client/exchange", "client/retry", "layer", "service", "tls"]),
    ("hyper_util", &["testing", "server", "client", "service", "tls"]),
    ("inventory", &["service", "registry"]),
    ("multiversion", &["wire/mask"]),
    ("percent_encoding", &["client/target", "request", "path"]),
    ("pin_project_lite", &["layer", "dispatch", "endpoint"]),
    ("prost", &["protobuf"]),
    ("rand", &["client", "frames/masking", "session"]),
    ("rcgen", &["tls"]),
    ("rmp_serde", &["msgpack"]),
    ("serde", &["json", "msgpack", "cbor", "negotiated", "event"]),
    ("serde_json", &["json", "event"]),
    ("simdutf8", &["wire/utf8"]),
    ("socket2", &["keepalive"]),
    // sockets and timers are awaited in these
    (
        "tokio",
        &[
            "testing",
            "server",
            "client",
            "service",
            "tls",
            "connection",
            "link",
            "link/clock",
            "link/closing",
            "link/inbound",
            "link/outgoing",
            "socket",
        ],
    ),
    // types without a task: what a socket is, and when something is too late
    ("tokio::net::TcpStream", &["registry"]),
    ("tokio::spawn", &["registry"]),
    ("tokio::sync::oneshot", &["registry"]),
    ("tokio::net::tcp::OwnedWriteHalf", &["registry", "session", "outbound"]),
    ("tokio::time::Instant", &["outbound", "outbound/waiting", "session/open_set", "deadlines", "registry"]),
    ("tokio::time::timeout", &["registry"]),
    ("tokio::runtime::Handle", &["quantum", "flushers", "per_runtime"]),
    ("tokio::runtime::Id", &["per_runtime"]),
    ("tokio::sync::OwnedSemaphorePermit", &["quantum"]),
    ("tokio::sync::Semaphore", &["quantum"]),
    ("tokio::task::yield_now", &["quantum", "flushers"]),
    ("tokio::io::AsyncWrite", &["message_socket", "writer"]),
    ("tokio::io::AsyncRead", &["message_socket", "stream"]),
    ("tokio::io::ReadBuf", &["message_socket", "stream"]),
    ("tokio_rustls", &["tls"]),
    ("tokio_tungstenite", &["message_socket/tungstenite", "service/adopted"]),
    ("tokio_tungstenite::tungstenite::handshake::derive_accept_key", &["handshake"]),
    ("tokio_util", &["server", "client", "service"]),
    ("tokio_util::sync::PollSemaphore", &["quantum"]),
    ("tokio_util::task::TaskTracker", &["flushers"]),
    ("tokio_util::task::task_tracker::TaskTrackerToken", &["registry", "connection"]),
    ("tower_layer", &["layer"]),
    ("tower_service", &["server", "layer", "service"]),
    (
        "tracing",
        &[
            "testing",
            "server",
            "client",
            "service",
            "programmatic",
            "connection",
            "link/inbound",
            "message_socket",
            "keepalive",
            "dispatch",
            "session",
            "broadcast",
            "remote",
            "sent",
            "writer",
            "destructors",
        ],
    ),
    ("webpki_roots", &["tls"]),
];

/// Words that only some rooms may say.
const WORDS: &[(&str, &[&str], &str)] = &[
    (
        "spawn",
        &["testing", "testing/connection", "server", "client/reconnect", "registry", "flushers"],
        "only the front door, the place where a type is erased and the flushers spawn, and what they spawn is waited for",
    ),
    (
        "catch_unwind",
        &["dispatch", "registry", "registry/configured", "sent", "destructors", "client/reconnect"],
        "only these call the user's code: handlers, constructors, configurators, callbacks of what was sent, destructors",
    ),
    ("unsafe", &["text"], "the one audited file with `unsafe` code is text.rs"),
    ("from_validated", &["text", "wire/decode", "wire/assemble"], "only the decoder knows that octets were validated"),
];

/// The most lines a file may have above its unit tests.
const LONG: usize = 600;

/// Where a room stands; `None` if it has no place.
fn step(staircase: &[&[&str]], room: &str) -> Option<usize> {
    staircase.iter().position(|step| step.contains(&room))
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

// ---- judging ----

/// What is wrong in one file of a crate whose rooms are `staircase`.
fn staircase_mistakes(staircase: &[&[&str]], room: &str, source: &str) -> Vec<String> {
    let Some(own) = step(staircase, room) else {
        return vec![format!("{room}.rs has no place on the staircase: give it one in tests/house.rs")];
    };
    let mut mistakes = Vec::new();
    for (path, line) in paths(&tokens(source), &["crate", "super"]) {
        let mut segments: Vec<&str> = path[1..].iter().map(String::as_str).collect();
        if path[0] == "super" {
            if let Some((parent, _)) = room.rsplit_once('/') {
                segments.insert(0, parent);
            }
        }
        let two = segments.get(..2).map(|two| two.join("/"));
        let named = two.filter(|two| step(staircase, two).is_some()).unwrap_or_else(|| segments[0].to_owned());
        let path = path.join("::");
        match step(staircase, &named) {
            None => mistakes.push(format!(
                "{room}.rs:{line} names `{path}`, which is no room: name the room that `{}` lives in",
                segments.last().unwrap_or(&"it")
            )),
            Some(below) if below < own => mistakes.push(format!(
                "{room}.rs:{line} names `{path}`, but `{named}` stands above `{room}` on the staircase: move the line \
                 to `{named}` or above it, or move what it needs down"
            )),
            Some(_) => {}
        }
    }
    mistakes
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
                "{room}.rs:{line} names `{path}`: that is for {}; move the line there, or do without",
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
                mistakes.push(format!("{room}.rs:{} says `{word}`: {reason}; move the line there", token.line));
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
    vec![format!("{room}.rs has {lines} lines above its tests, {LONG} at most: move one of its ideas out")]
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut out = Vec::new();
    collect(&root, &root, &mut out);
    assert!(out.len() > 5, "{} is no crate", root.display());
    out.sort();
    out
}

/// Asks `judge` about every room of the runtime.
fn runtime(judge: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let rooms = sources("endpoint-runtime/src").into_iter().filter(|(room, _)| !OUTSIDE.contains(&room.as_str()));
    rooms.flat_map(|(room, source)| judge(&room, &source)).collect()
}

#[track_caller]
fn assert_none(mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn runtime_goes_down_the_staircase() {
    assert_none(runtime(|room, source| staircase_mistakes(STAIRCASE, room, source)));
}

#[test]
fn architecture_shows_the_same_staircase() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## The staircase").nth(1).expect("the section on the staircase");
    let shown = section.split("```").nth(1).expect("the staircase in a block");
    let shown: Vec<Vec<&str>> = shown.split('→').map(|step| step.split(',').map(str::trim).collect()).collect();
    assert_eq!(shown, STAIRCASE, "ARCHITECTURE.md and tests/house.rs show different staircases");
}

#[test]
fn outside_crates_are_named_only_where_they_belong() {
    assert_none(runtime(crate_mistakes));
}

#[test]
fn dangerous_words_are_said_only_where_they_belong() {
    assert_none(runtime(word_mistakes));
}

#[test]
fn files_are_not_too_long() {
    assert_none(runtime(length_mistakes));
}

#[test]
fn every_room_of_the_lists_exists() {
    let rooms: Vec<String> = sources("endpoint-runtime/src").into_iter().map(|(room, _)| room).collect();
    let listed = STAIRCASE.iter().copied().flatten().chain(OUTSIDE);
    let listed = listed.chain(CRATES.iter().flat_map(|(_, rooms)| *rooms).filter(|room| **room != "*"));
    let listed = listed.chain(WORDS.iter().flat_map(|(_, rooms, _)| *rooms));
    for room in listed {
        assert!(rooms.iter().any(|there| there == room), "tests/house.rs lists `{room}`, which is no file");
    }
}

#[test]
fn every_dependency_has_its_rooms() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("endpoint-runtime/Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).expect("a section of dependencies");
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('['));
    let mut count = 0;
    for line in lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default().replace('-', "_");
        assert!(
            CRATES.iter().any(|(known, _)| *known == name),
            "`{name}` is a dependency of endpoint-runtime: say in tests/house.rs which rooms may name it"
        );
        count += 1;
    }
    assert!(count > 5, "{section}");
}

#[test]
fn macros_go_down_their_stages() {
    let mistakes = sources("endpoint-macros/src");
    let mistakes = mistakes.iter().flat_map(|(room, source)| staircase_mistakes(STAGES, room, source));
    assert_none(mistakes.collect());
}

#[test]
fn expanding_a_macro_neither_parses_nor_fails() {
    let (_, source) = sources("endpoint-macros/src").into_iter().find(|(room, _)| room == "expand").unwrap();
    for (path, line) in paths(&tokens(&source), &["syn"]) {
        assert!(
            !matches!(path[1].as_str(), "parse" | "parse2" | "parse_str" | "parse_quote" | "Error" | "Result"),
            "expand.rs:{line} names `{}`: whatever can fail belongs to parse.rs or validate.rs",
            path.join("::")
        );
    }
}

// ---- the guard itself ----

fn on_stairs(room: &str, source: &str) -> Vec<String> {
    staircase_mistakes(STAIRCASE, room, source)
}

#[test]
fn guard_finds_a_line_that_looks_up() {
    let source = "use crate::path::PathParams;\n\nuse crate::handshake::refusal::Refusal;\n";
    assert_eq!(
        on_stairs("session", source),
        ["session.rs:3 names `crate::handshake::refusal::Refusal`, but `handshake/refusal` stands above `session` on \
          the staircase: move the line to `handshake/refusal` or above it, or move what it needs down"]
    );
}

#[test]
fn guard_finds_paths_in_lists_in_bodies_in_macros_and_in_types() {
    for source in [
        "use crate::{close::CloseCode, session::Session};",
        "use crate::{wire::{self, frame as f}, session as other};",
        "fn f() { let x = crate::session::Session::new(); }",
        "fn f(x: crate::session::Session) {}",
        "fn f(x: &'a crate::session::Session) {}",
        "fn f() { println!(\"{}\", crate::session::OFF); }",
        "pub(crate) use crate::session::{Session};",
        "impl From<crate::session::Session> for X {}",
        "use super::session::Session;",
        "#[cfg(not(test))] use crate::session::Session;",
    ] {
        let mistakes = on_stairs("outbound", source);
        assert_eq!(mistakes.len(), 1, "{source}: {mistakes:?}");
        assert!(mistakes[0].contains("`session` stands above `outbound`"), "{mistakes:?}");
    }
}

#[test]
fn guard_lets_pass_what_looks_down_or_is_no_path() {
    for source in [
        "use crate::wire::{Violation, decode, encode, frame::OpCode};",
        "use crate::close::{CloseCode, CloseReason};",
        "// crate::session::Session\n/* crate::session */\n/// See [`crate::session::Session`].\nstruct X;",
        "const X: &str = \"crate::session::Session\"; const Y: &str = r#\"use crate::session;\"#;",
        "#[cfg(test)]\nmod tests { use crate::session::Session; }",
        "#[cfg(test)] use crate::session::Session;\nstruct X;",
        "#[cfg(test)]\n#[allow(dead_code)]\nfn f() { crate::session::f() }",
        "pub(crate) fn f() {}",
    ] {
        assert_eq!(on_stairs("outbound", source), [""; 0], "{source}");
    }
}

#[test]
fn guard_goes_on_behind_unit_tests() {
    let source = "#[cfg(test)]\nmod tests { use crate::session::Session; }\nuse crate::service::Shutdown;";
    assert!(on_stairs("outbound", source)[0].starts_with("outbound.rs:3 names `crate::service::Shutdown`"));
}

#[test]
fn guard_knows_the_rooms_inside_wire() {
    assert!(on_stairs("wire/decode", "use super::frame::{self, Header}; use super::{Violation, mask};").is_empty());
    assert!(on_stairs("wire/frame", "use super::decode::Decoder;")[0].contains("`wire/decode` stands above"));
    assert!(on_stairs("wire/frame", "use crate::codec::excerpt;")[0].contains("`codec` stands above"));
    assert!(on_stairs("wire", "use crate::error::Error;").is_empty());
}

#[test]
fn guard_lets_words_name_those_below_or_beside_them() {
    assert!(on_stairs("text", "use crate::message::Binary;").is_empty());
    assert!(on_stairs("message", "use crate::text::Text;").is_empty());
    assert!(on_stairs("path", "use crate::wire::Violation;")[0].contains("`wire` stands above `path`"));
    assert!(on_stairs("text", "use crate::error::Error;")[0].contains("`error` stands above `text`"));
    assert!(on_stairs("error", "use crate::close::CloseCode;")[0].contains("`close` stands above `error`"));
}

#[test]
fn guard_wants_the_room_and_not_the_reexport() {
    assert!(on_stairs("outbound", "use crate::Session;")[0].contains("which is no room"));
    assert!(on_stairs("outbound", "use crate::private::Session;")[0].contains("which is no room"));
}

#[test]
fn guard_wants_a_place_for_a_new_file() {
    assert!(on_stairs("deflate", "")[0].contains("deflate.rs has no place"));
}

#[test]
fn guard_finds_outside_crates_in_the_wrong_room() {
    for (room, source, named) in [
        ("wire/frame", "use tokio::time::Instant;", "tokio::time::Instant"),
        ("close", "fn f(x: http::StatusCode) {}", "http::StatusCode"),
        ("session", "use hyper::upgrade::Upgraded;", "hyper::upgrade::Upgraded"),
        ("outbound", "use tokio::time::{Instant, sleep};", "tokio::time::sleep"),
        ("registry", "fn f() { tokio::spawn_blocking(x) }", "tokio::spawn_blocking"),
        ("dispatch", "async fn f() { tokio::select! {} }", "tokio::select"),
        ("handshake", "use ::tokio::net::TcpStream;", "tokio::net::TcpStream"),
    ] {
        let mistakes = crate_mistakes(room, source);
        assert_eq!(mistakes.len(), 1, "{source}: {mistakes:?}");
        assert!(mistakes[0].contains(&format!("names `{named}`")), "{mistakes:?}");
    }
}

#[test]
fn guard_lets_outside_crates_pass_where_they_belong() {
    for (room, source) in [
        ("outbound", "use tokio::time::Instant;"),
        ("registry", "use tokio::net::TcpStream;"),
        ("link", "use tokio::time::{Instant, Sleep, sleep_until};"),
        ("session", "use http::HeaderMap;"),
        ("wire/mask", "// tokio::spawn\nfn f(http: u8) -> u8 { crate::close::http::x(); http }"),
        ("config", "#[cfg(test)] mod tests { fn f() { tokio::spawn(x) } }"),
    ] {
        assert_eq!(crate_mistakes(room, source), [""; 0], "{source}");
    }
}

#[test]
fn guard_finds_words_in_the_wrong_room() {
    assert!(word_mistakes("link", "fn f() { unsafe { g() } }")[0].starts_with("link.rs:1 says `unsafe`"));
    assert!(word_mistakes("link", "\nfn f() { Text::from_validated(x) }")[0].starts_with("link.rs:2 says"));
    assert!(word_mistakes("session", "fn f() { tokio::spawn(x); }")[0].contains("only the front door, the"));
    assert!(word_mistakes("text", "fn f() { unsafe { g() } }").is_empty());
    assert!(word_mistakes("wire/decode", "fn f() { Text::from_validated(x) }").is_empty());
    assert!(word_mistakes("link", "#![deny(unsafe_code)] // unsafe\nconst X: &str = \"unsafe\";").is_empty());
}

#[test]
fn guard_measures_files_above_their_tests() {
    let long = "\n".repeat(LONG + 1);
    assert!(length_mistakes("session", &long)[0].contains("601 lines"));
    assert!(length_mistakes("session", &"\n".repeat(LONG)).is_empty());
    assert!(length_mistakes("session", &format!("#[cfg(test)]\n{long}")).is_empty());
}
