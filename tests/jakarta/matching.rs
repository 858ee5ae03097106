//! Area L: which endpoint answers which path (§3.1.1). (Below a context path, decoded, normalised:
//! `tests/uri_matching.rs`.)

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;

use crate::Step::{Hear, Silence, Text as Say};
use crate::play;
use crate::support::{Client, TestServer};

macro_rules! endpoints {
    ($($name:ident $path:literal)*) => {
        $(
            #[server_endpoint($path)]
            #[derive(Default)]
            struct $name;

            impl $name {
                #[on_message]
                fn who(&self, _asked: &str, session: &Session) -> String {
                    session.path_params().iter().fold($path.to_owned(), |line, (_, value)| format!("{line} {value}"))
                }
            }
        )*

        async fn server() -> TestServer {
            TestServer::with(ServerContainer::builder()$(.register::<$name>())*).await
        }
    };
}

endpoints! {
    A1 "/a"
    A2 "/{a}"
    A3 "/c/{d}"
    A4 "/{c}/d"
    A5 "/c/d"
    A6 "/{c}/{d}"
    A7 "/a/c/d"
    A8 "/a/c/{d}"
    A9 "/a/{c}/d"
    A10 "/a/{c}/{d}"
    A11 "/{a}/c/d"
    A12 "/{a}/c/{d}"
    A13 "/{a}/{c}/d"
    A14 "/{a}/{c}/{d}"
}

/// The rule, the path, who answers.
const ANSWERS: &[(&str, &str, &str)] = &[
    ("L exact, WSC-3.1.1-1", "/a", "/a"),
    ("L variable, WSC-3.1.1-3", "/c", "/{a} c"),
    ("L literal, variable", "/c/one", "/c/{d} one"),
    ("L variable, literal", "/one/d", "/{c}/d one"),
    ("L exact of two", "/c/d", "/c/d"),
    ("L two variables", "/one/two", "/{c}/{d} one two"),
    ("L a literal beats a variable", "/a/d", "/{c}/d a"),
    ("L exact of three", "/a/c/d", "/a/c/d"),
    ("L literal, literal, variable", "/a/c/three", "/a/c/{d} three"),
    ("L literal, variable, literal", "/a/two/d", "/a/{c}/d two"),
    ("L literal, variable, variable", "/a/one/two", "/a/{c}/{d} one two"),
    ("L variable, literal, literal", "/two/c/d", "/{a}/c/d two"),
    ("L variable, literal, variable", "/one/c/two", "/{a}/c/{d} one two"),
    ("L variable, variable, literal", "/one/two/d", "/{a}/{c}/d one two"),
    ("L three variables", "/one/two/three", "/{a}/{c}/{d} one two three"),
];

#[tokio::test]
async fn each_path_is_answered_by_the_best_match() {
    let server = server().await;
    for (rule, path, answer) in ANSWERS {
        play(&server, &[(rule, path, &[Say("?"), Hear(answer), Silence])]).await;
    }
}

#[tokio::test]
async fn path_without_a_match_is_refused() {
    let server = server().await;
    for (rule, path) in [
        ("L four segments, WSC-3.1.1-4", "/a/c/d/e"),
        ("L a variable is never empty", "/c/"),
        ("L a variable is never empty", "/a//d"),
        ("L nothing", "/"),
    ] {
        println!("{rule}: {path}");
        let (answer, _) = Client::try_connect(server.addr, path, &[]).await;
        assert_eq!(answer.status, 404);
    }
}

/// The examples of §3.1.1, which tell the order of precedence: the kit's fourteen have an exact answer wherever two of
/// them compete.
mod precedence {
    use super::*;

    endpoints! {
        VarD "/{v1}/d"
        BVar "/b/{v2}"
        AVarC "/a/{var}/c"
        Abc "/a/b/c"
        AVarVar "/a/{v1}/{v2}"
        VarVarZ "/{v1}/{v2}/z"
    }

    #[tokio::test]
    async fn leftmost_literal_takes_precedence() {
        let server = server().await;
        for (rule, path, answer) in [
            ("L §3.1.1, example iv", "/b/d", "/b/{v2} d"),
            ("L §3.1.1, example iii", "/a/b/c", "/a/b/c"),
            ("L §3.1.1, example iii", "/a/d/c", "/a/{var}/c d"),
            ("L §3.1.1, example iii", "/a/x/y", "/a/{v1}/{v2} x y"),
            ("L a literal on the left beats one on the right", "/a/x/z", "/a/{v1}/{v2} x z"),
            ("L and where there is none on the left", "/x/d", "/{v1}/d x"),
        ] {
            play(&server, &[(rule, path, &[Say("?"), Hear(answer), Silence])]).await;
        }
    }
}
