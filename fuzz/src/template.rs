//! Templates, context paths and request paths: nothing panics, the macros and the runtime agree on what a template
//! is, a template matches its own path, and the router finds what the RFCs and Jakarta §3.1.1, read naively, find.

use endpoint_runtime::fuzzing::{self, Found, Router};

use crate::input::Input;

#[allow(dead_code)] // `span_within` is for the compiler
#[path = "../../endpoint-macros/src/template.rs"]
mod macros;

type Segments = Vec<Result<String, String>>;

/// Lines: a byte of choices and the context path, the request's path, then templates.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let choices = input.byte();
    let text = String::from_utf8_lossy(input.take(1000));
    let mut lines = text.split('\n');
    let (context, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let templates: Vec<_> = lines.take(12).collect();

    let mut parsed = Vec::new();
    for template in templates.iter().chain([&context, &path]) {
        parsed.push(parse(template));
    }
    let context_is_path = matches!(context, "" | "/")
        || parsed[templates.len()]
            .as_ref()
            .is_some_and(|segments| segments.iter().all(Result::is_ok) && !context.ends_with('/'));
    assert_eq!(fuzzing::is_context(context), context_is_path, "{context:?}");

    let expected = naive_segments(path);
    assert_eq!(fuzzing::segments(path), expected, "{path:?}");

    let ignores_slash = choices & 1 != 0;
    let below: Segments = match context {
        "" | "/" => Vec::new(),
        context if context_is_path => context[1..].split('/').map(|literal| Ok(literal.to_owned())).collect(),
        _ => Vec::new(),
    };
    let whole = |template: &Segments| {
        let mut segments = [&below[..], template].concat();
        if ignores_slash && segments.last() == Some(&Ok(String::new())) {
            segments.pop();
        }
        segments
    };
    let routes: Vec<(usize, Segments)> = parsed[..templates.len()]
        .iter()
        .enumerate()
        .filter_map(|(place, segments)| Some((place, whole(segments.as_ref()?))))
        .collect();

    let mut conflicts = Vec::new();
    for (later, (second, right)) in routes.iter().enumerate() {
        for (first, left) in &routes[..later] {
            if pattern(left) == pattern(right) {
                conflicts.push((*first, *second));
            }
        }
    }
    let router = match Router::new(context, ignores_slash, &templates) {
        Ok(router) => router,
        Err(found) => return assert_eq!(found, conflicts),
    };
    assert_eq!(conflicts, [], "{templates:?} were mounted together");

    assert_eq!(router.find(path), naive_find(&routes, expected, ignores_slash), "{path:?} in {templates:?}");
    for (place, segments) in &routes {
        // its own path finds the template, unless literals of another are there where it has variables
        let value = |index: usize| format!("v.{}/%{index}", choices >> 1);
        let own: Vec<_> = segments.iter().enumerate().map(|(i, s)| s.clone().unwrap_or_else(|_| value(i))).collect();
        let slash = if ignores_slash && (own.is_empty() || choices & 2 != 0) { "/" } else { "" };
        let encoded: String = own.iter().map(|segment| "/".to_owned() + &encode(segment, choices & 4 != 0)).collect();
        let found = router.find(&(encoded.clone() + slash));
        let expected = naive_find(&routes, Some(own), false);
        assert_eq!(found, expected, "{encoded}");
        assert!(matches!(found, Found::Template(..)), "{:?} does not match {encoded}", templates[*place]);
    }
}

/// The segments of a template, if the macros and the runtime find it legal.
fn parse(text: &str) -> Option<Segments> {
    let errors = macros::errors(text);
    for (range, _) in &errors {
        // a place in the text
        let _ = &text[range.clone()];
    }
    let parsed = fuzzing::template(text);
    assert_eq!(parsed.is_ok(), errors.is_empty(), "{text:?}: {parsed:?} and {errors:?}");
    let segments = parsed.ok()?;
    let written: String = segments.iter().fold(String::new(), |text, segment| match segment {
        Ok(literal) => text + "/" + literal,
        Err(name) => text + "/{" + name + "}",
    });
    assert_eq!(written, text);
    for name in segments.iter().filter_map(|segment| segment.as_ref().err()) {
        assert!(fuzzing::template_has(text, name));
        assert!(!fuzzing::template_has(text, &format!("{name}0x")) || text.contains(&format!("{{{name}0x}}")));
    }
    Some(segments)
}

/// What a template looks like without its variables' names.
fn pattern(segments: &Segments) -> Vec<Option<&String>> {
    segments.iter().map(|segment| segment.as_ref().ok()).collect()
}

/// RFC 3986 by the letter: dots that need no encoding are decoded (§6.2.2.2), dot segments are removed (§5.2.4), and
/// the rest is decoded once, segment by segment.
fn naive_segments(path: &str) -> Option<Vec<String>> {
    if !path.starts_with('/') {
        return None;
    }
    let mut dotted = String::new();
    for segment in path[1..].split('/') {
        dotted.push('/');
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            dots @ ("." | "..") => dotted.push_str(dots),
            _ => dotted.push_str(segment),
        }
    }
    // a part that is removed has to decode as well
    for segment in path.split('/') {
        decode(segment)?;
    }
    let (mut input, mut output) = (dotted, String::new());
    while !input.is_empty() {
        if let Some(rest) = input.strip_prefix("/./") {
            input = format!("/{rest}");
        } else if input == "/." {
            input = "/".into();
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input.drain(..end);
        }
    }
    output[1..].split('/').map(decode).collect()
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let [high, low] = [bytes.next()?, bytes.next()?].map(|digit| char::from(digit).to_digit(16));
                (high? * 16 + low?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Percent-encodes what has to be, or every byte.
fn encode(segment: &str, every: bool) -> String {
    let bytes = segment.bytes().map(|byte| match byte {
        plain if plain.is_ascii_alphanumeric() && !every => char::from(plain).to_string(),
        byte => format!("%{byte:02x}"),
    });
    bytes.collect()
}

/// Jakarta §3.1.1: of all that match in full, left to right those with a literal.
fn naive_find(routes: &[(usize, Segments)], path: Option<Vec<String>>, ignores_slash: bool) -> Found {
    let Some(mut path) = path else { return Found::BadPath };
    if ignores_slash && path.last().is_some_and(String::is_empty) {
        path.pop();
    }
    let fits = |(segment, text): (&Result<String, String>, &String)| match segment {
        Ok(literal) => literal == text,
        Err(_) => !text.is_empty(),
    };
    let mut candidates: Vec<_> = routes
        .iter()
        .filter(|(_, segments)| segments.len() == path.len() && segments.iter().zip(&path).all(fits))
        .collect();
    for index in 0..path.len() {
        if candidates.iter().any(|(_, segments)| segments[index].is_ok()) {
            candidates.retain(|(_, segments)| segments[index].is_ok());
        }
    }
    assert!(candidates.len() <= 1, "{candidates:?}");
    let Some((place, segments)) = candidates.pop() else { return Found::Nothing };
    let params = segments.iter().zip(path).filter_map(|(segment, text)| Some((segment.clone().err()?, text)));
    Found::Template(*place, params.collect())
}
