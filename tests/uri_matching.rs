//! Which endpoint answers which path, and with which values (Jakarta §3.1.1 and its TCK).

mod support;

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;
use support::{Client, TestServer};

macro_rules! endpoints {
    ($($name:ident $path:literal)*) => {
        $(
            #[server_endpoint($path)]
            #[derive(Default)]
            struct $name;

            impl $name {
                #[on_message]
                fn who(&mut self, _: &str, session: &Session) -> String {
                    session.path_params().iter().fold($path.to_owned(), |line, (name, value)| {
                        format!("{line} {name}={value}")
                    })
                }
            }
        )*

        fn container() -> endpoint_runtime::ContainerBuilder {
            ServerContainer::builder()$(.register::<$name>())*
        }
    };
}

endpoints! {
    A "/a"
    VarA "/{a}"
    CVarD "/c/{d}"
    VarCD "/{c}/d"
    CD "/c/d"
    VarCVarD "/{c}/{d}"
    Acd "/a/c/d"
    ACVarD "/a/c/{d}"
    AVarCD "/a/{c}/d"
    AVarCVarD "/a/{c}/{d}"
    VarAcd "/{a}/c/d"
    VarACVarD "/{a}/c/{d}"
    VarAVarCD "/{a}/{c}/d"
    VarAVarCVarD "/{a}/{c}/{d}"
}

const ANSWERS: [(&str, &str); 18] = [
    ("/a", "/a"),
    ("/c", "/{a} a=c"),
    ("/c/d", "/c/d"),
    ("/c/one", "/c/{d} d=one"),
    ("/one/d", "/{c}/d c=one"),
    ("/one/two", "/{c}/{d} c=one d=two"),
    ("/a/c/d", "/a/c/d"),
    ("/a/c/three", "/a/c/{d} d=three"),
    ("/a/two/d", "/a/{c}/d c=two"),
    ("/a/one/two", "/a/{c}/{d} c=one d=two"),
    ("/two/c/d", "/{a}/c/d a=two"),
    ("/one/c/two", "/{a}/c/{d} a=one d=two"),
    ("/one/two/d", "/{a}/{c}/d a=one c=two"),
    ("/one/two/three", "/{a}/{c}/{d} a=one c=two d=three"),
    // a literal is compared decoded, and with its case
    ("/%61", "/a"),
    ("/A", "/{a} a=A"),
    ("/c/.d", "/c/{d} d=.d"),
    // normalised first (RFC 3986 §6)
    ("/one/../a/./c/two/%2e%2E/d?x=/c", "/a/c/d"),
];

#[tokio::test]
async fn each_of_the_fourteen_endpoints_answers_its_paths() {
    let server = TestServer::with(container()).await;
    assert_eq!(server.container.endpoints().count(), 14);
    for (path, answer) in ANSWERS {
        let mut client = server.connect(path).await;
        client.text("?").await;
        println!("{path}");
        client.expect_text(answer).await;
    }
}

#[tokio::test]
async fn each_of_them_answers_below_a_context_path() {
    let server = TestServer::with(container().context_path("/a/c")).await;
    for (path, answer) in ANSWERS {
        let mut client = server.connect(&format!("/a/c{path}")).await;
        client.text("?").await;
        println!("{path}");
        client.expect_text(answer).await;
    }
}

#[tokio::test]
async fn a_path_that_no_template_matches_whole_is_refused() {
    let server = TestServer::with(container()).await;
    for path in ["/a/c/d/e", "/", "/a/", "/c/d/", "/a/c/d/", "/one/", "/a//d", "//", "//a", "/a/c/", "/a/.."] {
        let (answer, _) = Client::try_connect(server.addr, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

mod dead_ends {
    use super::*;

    endpoints! {
        First "/a/{x}/c"
        Second "/{y}/b/d"
    }

    /// Where the letter of the spec gives up after its first segment, the only full match answers.
    #[tokio::test]
    async fn literal_without_a_continuation_does_not_hide_a_full_match() {
        let server = TestServer::with(container()).await;
        let mut client = server.connect("/a/b/d").await;
        client.text("?").await;
        client.expect_text("/{y}/b/d y=a").await;
    }
}
