//! However a stream is cut into reads, the decoder says the same, and it never keeps more than it may.

use endpoint_runtime::fuzzing::{Decoded, Take};

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
    assert_eq!((&whole.rejected, whole.is_idle), (&parts.rejected, parts.is_idle));
    assert_eq!((&whole.rejected, whole.is_idle), (&nothing.rejected, nothing.is_idle));
    assert_eq!(whole.decoded, put_together(parts.decoded));
    let unwanted = whole.decoded.into_iter().map(|decoded| match decoded {
        Decoded::Text(..) => Decoded::Unwanted { text: true },
        Decoded::Binary(..) => Decoded::Unwanted { text: false },
        control => control,
    });
    assert_eq!(nothing.decoded, unwanted.collect::<Vec<_>>());
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
    assert_eq!((&left.rejected, left.is_idle), (&right.rejected, right.is_idle));
    let is_bad_text = left.rejected.as_ref().is_some_and(|rejected| rejected.0 == 1007);
    let settled = |decoded: &[Decoded]| match decoded {
        [settled @ .., Decoded::Text(_, false)] if is_bad_text => settled.to_vec(),
        decoded => decoded.to_vec(),
    };
    assert_eq!(settled(&left.decoded), settled(&right.decoded));
    if let (true, Some(Decoded::Text(left, false)), Some(Decoded::Text(right, false))) =
        (is_bad_text, left.decoded.last(), right.decoded.last())
    {
        assert!(left.starts_with(right) || right.starts_with(left));
    }
}

/// Whole messages out of parts, each where its last part was.
fn put_together(parts: Vec<Decoded>) -> Vec<Decoded> {
    let (mut text, mut data) = (String::new(), Vec::new());
    let whole = parts.into_iter().filter_map(|part| match part {
        Decoded::Text(part, last) => {
            text.push_str(&part);
            last.then(|| Decoded::Text(std::mem::take(&mut text), true))
        }
        Decoded::Binary(part, last) => {
            data.extend(part);
            last.then(|| Decoded::Binary(std::mem::take(&mut data), true))
        }
        control => Some(control),
    });
    whole.collect()
}
