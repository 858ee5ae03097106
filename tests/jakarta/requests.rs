//! Area K: what an endpoint learns of the opening request, and what the client reads in the answer.

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, HandshakeResponse, ServerContainer};
use http::HeaderValue;

use crate::support::{Client, TestServer};

/// Answers questions about the request it came by.
#[server_endpoint("/app/{first}/{second}", configurator = Answering)]
#[derive(Default)]
struct Asked;

impl Asked {
    #[on_open]
    async fn open(&mut self, request: &HandshakeRequest, session: &Session) -> Result<(), Error> {
        session.basic_remote().send_text(format!("open {:?}", request.header("x-name"))).await
    }

    #[on_message]
    fn text(&self, question: &str, request: &HandshakeRequest, session: &Session) -> String {
        match question {
            "query" => format!("{:?}", request.query_string()),
            "params" => format!("{:?}", request.query_params().collect::<Vec<_>>()),
            "path params" => format!("{:?}", request.path_params().iter().collect::<Vec<_>>()),
            "path" => request.path().to_owned(),
            "uri" => request.uri().to_owned(),
            "peer" => format!("{:?}", request.peer_addr()),
            "local" => format!("{:?}", request.local_addr()),
            "role" => session.is_user_in_role("admin").to_string(),
            name => {
                format!("{:?} {:?}", request.header(name), request.headers().get_all(name).iter().collect::<Vec<_>>())
            }
        }
    }
}

/// Sends a header of the request back, beside one of its own.
#[derive(Default)]
struct Answering;

impl Configurator<Asked> for Answering {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        response.headers_mut().insert("x-own", HeaderValue::from_static("own"));
        if let Some(name) = request.headers().get("X-NAME") {
            response.headers_mut().insert("x-echo", name.clone());
        }
        Ok(())
    }
}

#[tokio::test]
async fn request_is_available_to_its_endpoint() {
    let server = TestServer::with(ServerContainer::builder().register::<Asked>()).await;
    let path = "/app/a%20b/c?second=secondParam&first=1&second=firstParam&e=%C3%A9+%2B";
    let headers = ["X-Name: one", "x-name: two", "Accept-Language: fr"];
    let mut client = Client::connect_with(server.addr, path, &headers).await;
    client.expect_text("open Some(\"one\")").await;
    let peer = format!("Some({})", client.stream.local_addr().unwrap());
    let local = format!("Some({})", server.addr);
    let uri = format!("ws://{}{path}", server.addr);
    for (rule, question, answer) in [
        ("K getHeaders, whatever the case", "x-name", "Some(\"one\") [\"one\", \"two\"]"),
        ("K getHeaders, whatever the case", "X-NAME", "Some(\"one\") [\"one\", \"two\"]"),
        ("K getHeaders of no such name", "x-other", "None []"),
        (
            "K getQueryString, as it was sent",
            "query",
            "Some(\"second=secondParam&first=1&second=firstParam&e=%C3%A9+%2B\")",
        ),
        (
            "K getParameterMap of the query: in order, decoded",
            "params",
            "[(\"second\", \"secondParam\"), (\"first\", \"1\"), (\"second\", \"firstParam\"), (\"e\", \"é +\")]",
        ),
        ("K getParameterMap of the path", "path params", "[(\"first\", \"a b\"), (\"second\", \"c\")]"),
        ("K getRequestURI", "path", "/app/a%20b/c"),
        ("K getRequestURI", "uri", &uri),
        ("K isUserInRole of nobody", "role", "false"),
        ("K getRemoteAddress, getRemotePort [2.3]", "peer", &peer),
        ("K getLocalAddress, getLocalPort [2.3]", "local", &local),
        ("K getPreferredLocale [2.3] is a header", "accept-language", "Some(\"fr\") [\"fr\"]"),
    ] {
        println!("{rule}: {question}");
        client.text(question).await;
        client.expect_text(answer).await;
    }
}

#[tokio::test]
async fn headers_of_the_configurator_reach_the_client() {
    println!("K HandshakeResponse.getHeaders, also of what the client sent");
    let server = TestServer::with(ServerContainer::builder().register::<Asked>()).await;
    let (answer, _client) = Client::try_connect(server.addr, "/app/a/b", &["x-name: Ada"]).await;
    assert_eq!(answer.status, 101);
    assert_eq!((answer.header("x-own"), answer.header("x-echo")), (Some("own"), Some("Ada")));
}

#[tokio::test]
async fn path_that_no_endpoint_has_is_answered_with_404() {
    println!("K afterResponse of a handshake that failed [2.3]: there is a status, and a line that says why");
    let server = TestServer::with(ServerContainer::builder().register::<Asked>()).await;
    let (answer, _) = Client::try_connect(server.addr, "/nowhere", &[]).await;
    assert_eq!((answer.status, &*answer.body), (404, "no WebSocket endpoint has this path"));
    assert_eq!(answer.header("sec-websocket-accept"), None);
}
