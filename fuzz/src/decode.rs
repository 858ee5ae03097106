//! However a stream is cut into reads, the decoder says the same, and it never keeps more than it may.

use endpoint_runtime::fuzzing::{Said, Take};

use crate::input::Input;
use crate::wire::{self, Reading, read};

pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let (text, binary) = (take(input.byte()), take(input.byte()));
    let sizes = input.sizes();
    let stream = wire::client(&mut input);

    let whole = read(text, binary, &stream, &[usize::MAX], false);
    // of a long stream not every byte
    let single = [if stream.len() < 2000 { 1 } else { 333 }];
    for (sizes, direct) in
        [(&single[..], false), (&sizes, false), (&sizes, true), (&single, true), (&[50_000, 9], true)]
    {
        same(&whole, &read(text, binary, &stream, sizes, direct));
    }

    // put together, in parts or not at all: the same messages and the same verdict
    let unlimited = Take::Whole { limit: usize::MAX };
    let whole = read(unlimited, unlimited, &stream, &sizes, true);
    let parts = read(Take::Parts, Take::Parts, &stream, &sizes, false);
    let nothing = read(Take::Discard, Take::Discard, &stream, &sizes, false);
    assert_eq!((&whole.wrong, whole.is_idle), (&parts.wrong, parts.is_idle));
    assert_eq!((&whole.wrong, whole.is_idle), (&nothing.wrong, nothing.is_idle));
    assert_eq!(whole.said, put_together(parts.said));
    let unwanted = whole.said.into_iter().map(|said| match said {
        Said::Text(..) => Said::Unwanted { text: true },
        Said::Binary(..) => Said::Unwanted { text: false },
        control => control,
    });
    assert_eq!(nothing.said, unwanted.collect::<Vec<_>>());
}

fn take(choice: u8) -> Take {
    match choice % 4 {
        0 => Take::Parts,
        1 => Take::Discard,
        _ => Take::Whole { limit: wire::limit(choice / 4) },
    }
}

/// Before a wrong byte of text it depends on the reads how much of its message has been handed on as a part.
fn same(left: &Reading, right: &Reading) {
    assert_eq!((&left.wrong, left.is_idle), (&right.wrong, right.is_idle));
    let is_bad_text = left.wrong.as_ref().is_some_and(|wrong| wrong.0 == 1007);
    let settled = |said: &[Said]| match said {
        [settled @ .., Said::Text(_, false)] if is_bad_text => settled.to_vec(),
        said => said.to_vec(),
    };
    assert_eq!(settled(&left.said), settled(&right.said));
    if let (true, Some(Said::Text(left, false)), Some(Said::Text(right, false))) =
        (is_bad_text, left.said.last(), right.said.last())
    {
        assert!(left.starts_with(right) || right.starts_with(left));
    }
}

/// Whole messages out of parts, each where its last part was.
fn put_together(parts: Vec<Said>) -> Vec<Said> {
    let (mut text, mut data) = (String::new(), Vec::new());
    let whole = parts.into_iter().filter_map(|part| match part {
        Said::Text(part, last) => {
            text.push_str(&part);
            last.then(|| Said::Text(std::mem::take(&mut text), true))
        }
        Said::Binary(part, last) => {
            data.extend(part);
            last.then(|| Said::Binary(std::mem::take(&mut data), true))
        }
        control => Some(control),
    });
    whole.collect()
}
