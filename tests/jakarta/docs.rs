//! `docs/jakarta.md` says of each element of the API which test proves it. Here is seen to it that these tests exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn page() -> String {
    fs::read_to_string(root().join("docs/jakarta.md")).unwrap()
}

/// The cells of each row of each table, with its line number; headings and rules are left out. In code a bar is written
/// `\|`.
fn rows(page: &str) -> Vec<(usize, Vec<String>)> {
    let lines: Vec<&str> = page.lines().collect();
    let is_rule = |line: &str| line.starts_with("|-") || line.starts_with("|:");
    let mut rows = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !line.starts_with('|') || is_rule(line) || lines.get(index + 1).is_some_and(|next| is_rule(next)) {
            continue;
        }
        let inner = line.trim_start_matches('|').trim_end().trim_end_matches('|').replace("\\|", "\u{1}");
        let cells = inner.split('|').map(|cell| cell.replace('\u{1}', "|").trim().to_owned()).collect();
        rows.push((index + 1, cells));
    }
    rows
}

/// What stands between backticks and has the form of a test: `file::test`.
fn tests_named(cell: &str) -> Vec<(String, String)> {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, test)| is_word(file) && is_word(test))
        .map(|(file, test)| (file.to_owned(), test.to_owned()))
        .collect()
}

/// Whether there is such a test: a function of `tests/file.rs` or `tests/jakarta/file.rs`, one that a macro of the
/// file makes, or a case of `tests/ui`.
fn exists(file: &str, test: &str) -> bool {
    let tests = root().join("tests");
    if let Some(folder) = file.strip_prefix("ui_") {
        let case = tests.join("ui").join(folder).join(test);
        return case.with_extension("rs").exists() && (folder == "pass" || case.with_extension("stderr").exists());
    }
    [tests.join(file).with_extension("rs"), tests.join("jakarta").join(file).with_extension("rs")]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .any(|source| {
            // the attribute is looked for, so that nothing but a test counts
            let attributed = |line: usize| {
                let above: Vec<&str> = source.lines().take(line).collect();
                above
                    .iter()
                    .rev()
                    .take_while(|line| line.trim_start().starts_with("#["))
                    .any(|line| line.contains("test"))
            };
            source.lines().enumerate().any(|(index, line)| {
                let line = line.trim_start();
                let name = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
                name.is_some_and(|name| name.starts_with(&format!("{test}("))) && attributed(index)
            }) || source
                .lines()
                .any(|line| line.split_once("!(").is_some_and(|(_, rest)| rest.starts_with(&format!("{test},"))))
                || source.contains(&format!("!(\n    {test},"))
        })
}

#[test]
fn each_test_that_the_page_names_exists() {
    let page = page();
    let missing: BTreeSet<String> = rows(&page)
        .iter()
        .flat_map(|(line, cells)| cells.iter().flat_map(|cell| tests_named(cell)).map(move |test| (line, test)))
        .filter(|(_, (file, test))| !exists(file, test))
        .map(|(line, (file, test))| format!("line {line}: {file}::{test}"))
        .collect();
    assert!(missing.is_empty(), "there are no such tests:\n{missing:#?}");
}

#[test]
fn each_row_of_the_page_is_full_and_proved_or_explained() {
    let page = page();
    let rows = rows(&page);
    assert!(rows.len() > 150, "only {} rows: is this the right page?", rows.len());
    for (line, cells) in &rows {
        println!("line {line}: {cells:?}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "a cell is empty");
        let last = cells.last().unwrap();
        match last.chars().next().unwrap() {
            '✔' => assert!(!tests_named(last).is_empty(), "no test proves it"),
            // other than in Java, with the reason
            '≠' => assert!(last.len() > 20, "the reason is missing"),
            // nothing to be proved: a row of the comparison of two programs
            _ => assert!(cells.len() == 2, "neither ✔ nor ≠"),
        }
    }
}

/// The elements of the API that the page must speak of; one that is forgotten would look like one that is done.
const ELEMENTS: &[&str] = &[
    "@ServerEndpoint",
    ".value",
    ".subprotocols",
    ".decoders",
    ".encoders",
    ".configurator",
    "@ClientEndpoint",
    "@OnOpen",
    "@OnMessage",
    ".maxMessageSize",
    "@OnClose",
    "@OnError",
    "@PathParam",
    "getContainerDefaultConfigurator",
    "checkOrigin",
    "getNegotiatedSubprotocol",
    "getNegotiatedExtensions",
    "modifyHandshake",
    "getEndpointInstance",
    "ServerEndpointConfig.Builder",
    "ClientEndpointConfig.Builder",
    "beforeRequest",
    "afterResponse",
    "getContainer",
    "addMessageHandler",
    "getMessageHandlers",
    "removeMessageHandler",
    "getProtocolVersion",
    "isSecure",
    "isOpen",
    "MaxIdleTimeout",
    "MaxBinaryMessageBufferSize",
    "MaxTextMessageBufferSize",
    "getAsyncRemote",
    "getBasicRemote",
    "getId",
    "close()",
    "close(CloseReason)",
    "getRequestURI",
    "getRequestParameterMap",
    "getQueryString",
    "getPathParameters",
    "getUserProperties",
    "getUserPrincipal",
    "getOpenSessions",
    "setBatchingAllowed",
    "flushBatch",
    "sendPing",
    "sendPong",
    "sendText(String)",
    "sendBinary(ByteBuffer)",
    "sendText(String, boolean)",
    "sendBinary(ByteBuffer, boolean)",
    "getSendStream",
    "getSendWriter",
    "sendObject",
    "setSendTimeout",
    "SendHandler",
    "Future",
    "ContainerProvider",
    "AsyncSendTimeout",
    "getInstalledExtensions",
    "connectToServer",
    "addEndpoint",
    "upgradeHttpToWebSocket",
    "ServerApplicationConfig",
    "Decoder.Text",
    "Decoder.Binary",
    "Decoder.TextStream",
    "Decoder.BinaryStream",
    "willDecode",
    "init",
    "destroy",
    "Encoder.Text",
    "Encoder.Binary",
    "Encoder.TextStream",
    "Encoder.BinaryStream",
    "DecodeException",
    "EncodeException",
    "SessionException",
    "DeploymentException",
    "MessageHandler.Whole",
    "MessageHandler.Partial",
    "CloseCodes",
    "getCloseCode",
    "getReasonPhrase",
    "Extension",
    "PongMessage",
    "SendResult",
    "HandshakeRequest",
    "isUserInRole",
    "getHttpSession",
    "getParameterMap",
    "getUserX509CertificateChain",
    "getRemoteAddress",
    "getPreferredLocale",
    "HandshakeResponse",
];

#[test]
fn page_mentions_each_element_of_the_api() {
    let page = page();
    let first_cells: Vec<String> = rows(&page).into_iter().map(|(_, cells)| cells[0].clone()).collect();
    let missing: Vec<&&str> =
        ELEMENTS.iter().filter(|element| !first_cells.iter().any(|cell| cell.contains(**element))).collect();
    assert!(missing.is_empty(), "no row mentions {missing:?}");
}

#[test]
fn checker_finds_what_is_wrong() {
    let page = "| a | b |\n|---|---|\n| `x \\| y` | ✔ `docs::checker_finds_what_is_wrong`, `docs::no_such` |\n";
    let rows = rows(page);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].1[0], "`x | y`");
    let named = tests_named(&rows[0].1[1]);
    let found: Vec<bool> = named.iter().map(|(file, test)| exists(file, test)).collect();
    assert_eq!(found, [true, false]);
    assert!(exists("echo", "returns_bool") && exists("ui_fail", "path_empty") && exists("ui_pass", "parts"));
    // a function that is no test
    assert!(!exists("docs", "rows") && !exists("session", "is_activity") && !exists("ui_fail", "no_such"));
}
