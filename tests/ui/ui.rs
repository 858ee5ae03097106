//! The compile errors that users of the attributes read: each file in `fail` has one mistake in an annotation, each
//! file in `pass` must compile. `TRYBUILD=overwrite cargo test --workspace --test ui` writes the errors again; then read them.

#[test]
fn invalid_annotations_do_not_compile() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}

#[test]
fn valid_annotations_compile() {
    trybuild::TestCases::new().pass("pass/*.rs");
}
