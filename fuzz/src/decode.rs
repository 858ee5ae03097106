//! However a stream is cut into reads, the decoder says the same, and it never keeps more than it may.

use endpoint_wire::event::{DecodeOptions, Delivery};
use endpoint_wire::message::DataKind;

use crate::input::Input;
use crate::wire::{self, Decoded, Reading, both, read};

pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let options = DecodeOptions { text: delivery(input.byte()), binary: delivery(input.byte()) };
    let sizes = input.sizes();
    let stream = wire::client(&mut input);

    let whole = read(options, &stream, &[usize::MAX], false);
    // of a long stream not every byte
    let single = [if stream.len() < 2000 { 1 } else { 333 }];
    for (sizes, direct) in
        [(&single[..], false), (&sizes, false), (&sizes, true), (&single, true), (&[50_000, 9], true)]
    {
        same(&whole, &read(options, &stream, sizes, direct));
    }

    // put together, in parts or not at all: the same messages and the same verdict
    let unlimited = Delivery::Whole { limit: usize::MAX };
    let whole = read(both(unlimited), &stream, &sizes, true);
    let parts = read(both(Delivery::Parts), &stream, &sizes, false);
    let nothing = read(both(Delivery::Discard), &stream, &sizes, false);
    assert_eq!((&whole.wrong, whole.is_idle), (&parts.wrong, parts.is_idle));
    assert_eq!((&whole.wrong, whole.is_idle), (&nothing.wrong, nothing.is_idle));
    assert_eq!(whole.said, put_together(parts.said));
    let discarded = whole.said.into_iter().map(|said| match said {
        Decoded::Text(..) => Decoded::Discarded(DataKind::Text),
        Decoded::Binary(..) => Decoded::Discarded(DataKind::Binary),
        control => control,
    });
    assert_eq!(nothing.said, discarded.collect::<Vec<_>>());
}

fn delivery(choice: u8) -> Delivery {
    match choice % 4 {
        0 => Delivery::Parts,
        1 => Delivery::Discard,
        _ => Delivery::Whole { limit: wire::limit(choice / 4) },
    }
}

/// Before a wrong byte of text it depends on the reads how much of its message has been handed on as a part.
fn same(left: &Reading, right: &Reading) {
    assert_eq!((&left.wrong, left.is_idle), (&right.wrong, right.is_idle));
    let is_bad_text = left.wrong.as_ref().is_some_and(|wrong| wrong.0 == 1007);
    let settled = |said: &[Decoded]| match said {
        [settled @ .., Decoded::Text(_, false)] if is_bad_text => settled.to_vec(),
        said => said.to_vec(),
    };
    assert_eq!(settled(&left.said), settled(&right.said));
    if let (true, Some(Decoded::Text(left, false)), Some(Decoded::Text(right, false))) =
        (is_bad_text, left.said.last(), right.said.last())
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
