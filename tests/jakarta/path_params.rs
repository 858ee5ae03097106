//! Area I: path parameters in each handler. (Of every type: `tests/echo.rs`; what does not parse: `tests/handshake.rs`.)

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;

use crate::support::{Journal, TestServer};

/// Eleven variables, all of them in each handler.
#[server_endpoint("/{p1}/{p2}/{p3}/{p4}/{p5}/{p6}/{p7}/{p8}/{p9}/{p10}/{p11}")]
struct Eleven(Journal);

macro_rules! eleven {
    ($handler:ident, $self:ident, $($name:ident)*) => {
        $self.0.note([stringify!($handler), $($name.as_str()),*].join(" "))
    };
}

#[allow(clippy::too_many_arguments)] // as many as the kit has
impl Eleven {
    #[on_open]
    fn open(
        &self,
        #[path_param] p1: String,
        #[path_param] p2: String,
        #[path_param] p3: String,
        #[path_param] p4: String,
        #[path_param] p5: String,
        #[path_param] p6: String,
        #[path_param] p7: String,
        #[path_param] p8: String,
        #[path_param] p9: String,
        #[path_param] p10: String,
        #[path_param] p11: String,
    ) {
        eleven!(open, self, p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11);
    }

    #[on_message]
    async fn message(
        &mut self,
        #[path_param] p1: String,
        #[path_param] p2: String,
        #[path_param] p3: String,
        #[path_param] p4: String,
        #[path_param] p5: String,
        message: String,
        #[path_param] p6: String,
        #[path_param] p7: String,
        #[path_param] p8: String,
        #[path_param] p9: String,
        #[path_param] p10: String,
        #[path_param] p11: String,
    ) -> Result<(), String> {
        eleven!(message, self, p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11);
        if message == "panic" { panic!("unchecked") } else { Err("checked".to_owned()) }
    }

    #[on_error]
    fn error(
        &self,
        #[path_param] p11: String,
        #[path_param] p10: String,
        #[path_param] p9: String,
        #[path_param] p8: String,
        #[path_param] p7: String,
        #[path_param] p6: String,
        #[path_param] p5: String,
        #[path_param] p4: String,
        #[path_param] p3: String,
        #[path_param] p2: String,
        #[path_param] p1: String,
        error: &Error,
    ) {
        self.0.note(format!("panic {}", error.is_panic()));
        eleven!(error, self, p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11);
    }

    #[on_close]
    async fn close(
        &self,
        #[path_param] p1: String,
        #[path_param] p2: String,
        #[path_param] p3: String,
        #[path_param] p4: String,
        #[path_param] p5: String,
        #[path_param] p6: String,
        #[path_param] p7: String,
        #[path_param] p8: String,
        #[path_param] p9: String,
        #[path_param] p10: String,
        #[path_param] p11: String,
    ) {
        eleven!(close, self, p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11);
    }
}

#[tokio::test]
async fn eleven_parameters_reach_each_handler() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Eleven(own.clone())));
    let server = TestServer::with(container).await;
    let values = "a b c d e f g h i j k";
    let path = format!("/{}", values.replace(' ', "/"));

    let mut client = server.connect(&path).await;
    println!("I onOpen, WSC-4.3-1");
    journal.expect(&format!("open {values}")).await;
    for (rule, message, panic) in [("I onError, checked", "fail", false), ("I onError, unchecked", "panic", true)] {
        println!("{rule}");
        client.text(message).await;
        journal.expect(&format!("message {values}")).await;
        journal.expect(&format!("panic {panic}")).await;
        journal.expect(&format!("error {values}")).await;
    }
    println!("I onClose");
    client.expect_close(1011).await;
    journal.expect(&format!("close {values}")).await;
}

/// Typed variables, and names that the template lacks.
#[server_endpoint("/typed/{long}/{truth}/{letter}/{double}/{float}")]
struct Typed(Journal);

#[allow(clippy::too_many_arguments)] // as many as the kit has
impl Typed {
    #[on_open]
    fn open(
        &self,
        #[path_param] long: i64,
        #[path_param] truth: bool,
        #[path_param] letter: char,
        #[path_param] double: f64,
        #[path_param] float: f32,
        #[path_param("no_such_name")] absent: Option<String>,
        #[path_param("long")] present: Option<i64>,
    ) {
        self.0.note(format!("open {long} {truth} {letter} {double} {float} {absent:?} {present:?}"));
    }

    #[on_message]
    fn message(
        &self,
        message: &str,
        #[path_param("absent")] absent: Option<&str>,
        #[path_param] letter: char,
    ) -> String {
        format!("{message} {absent:?} {letter}")
    }

    #[on_close]
    fn close(&self, #[path_param] absent: Option<bool>, #[path_param] double: f64, #[path_param] truth: bool) {
        self.0.note(format!("close {absent:?} {double} {truth}"));
    }
}

#[tokio::test]
async fn typed_parameters_parse_and_unknown_names_are_none() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Typed(own.clone())));
    let server = TestServer::with(container).await;
    println!("I Long, boolean, char, Double, Float, WSC-4.3-5; null, WSC-4.3-3");
    let mut client = server.connect("/typed/1234567890/true/0/12.34/56.78").await;
    journal.expect("open 1234567890 true 0 12.34 56.78 None Some(1234567890)").await;
    client.text("sent").await;
    client.expect_text("sent None 0").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    journal.expect("close None 12.34 true").await;
}

#[tokio::test]
async fn parameter_that_does_not_parse_refuses_the_handshake_before_an_instance_is_made() {
    println!("I WSC-4.3-6: ours refuses, where Java calls onError");
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| {
        own.note("made");
        Ok(Typed(own.clone()))
    });
    let server = TestServer::with(container).await;
    for path in ["/typed/x/true/0/1/1", "/typed/1/maybe/0/1/1", "/typed/1/true/00/1/1", "/typed/1/true/0/1/-"] {
        let (answer, _) = crate::support::Client::try_connect(server.addr, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(journal.rest(), <[&str; 0]>::default());
}
