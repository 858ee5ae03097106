//! What the user of the attributes gets to read: one annotation mistake each in `ui/fail`, what must compile in
//! `ui/pass`. `TRYBUILD=overwrite cargo test --workspace --test ui` writes the sentences anew; then read them.

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("ui/fail/*.rs");
}

#[test]
fn every_legal_form_compiles() {
    trybuild::TestCases::new().pass("ui/pass/*.rs");
}
