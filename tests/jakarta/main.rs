//! What Jakarta's conformance kit asks of a container, area by area, as tables: each row names the rule, where to
//! connect, what to say and what to hear. `docs/jakarta.md` has the way from the API to these rows.
//!
//! Areas: A `messages`, B `returns`, C and F `coders`, D `failing_coders`, E `remotes`, G `sessions`, H `handlers`, I `path_params`,
//! J `configuration`, K `requests`, L `matching`, M `life_cycle`, N and O `deployment`, P `words`.
//! What the kit does not ask is in `checklist`.

#[path = "../support/mod.rs"]
mod support;

mod checklist;
mod coders;
mod configuration;
mod deployment;
mod docs;
mod failing_coders;
mod handlers;
mod life_cycle;
mod matching;
mod messages;
mod path_params;
mod remotes;
mod requests;
mod returns;
mod sessions;
mod words;

use support::{BINARY, CONTINUATION, Client, PING, PONG, TEXT, TestServer};

/// The rule, the path to connect to, and what happens there.
type Row<'a> = (&'a str, &'a str, &'a [Step<'a>]);

/// One thing that the client says, or waits for.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a str),
    Pong(&'a str),
    /// A text in two fragments, or binary data.
    Fragments(&'a str, &'a str),
    BinaryFragments(&'a [u8], &'a [u8]),
    Hear(&'a str),
    HearBinary(&'a [u8]),
    /// A message in as many fragments as it likes.
    HearJoined(&'a str),
    HearBinaryJoined(&'a [u8]),
    HearPing(&'a str),
    HearPong(&'a str),
    /// The server closes with this code and phrase.
    HearClose(u16, &'a str),
    /// Everything was answered, and nothing else was sent.
    Silence,
}

impl Step<'_> {
    async fn take(self, client: &mut Client) {
        match self {
            Self::Text(text) => client.text(text).await,
            Self::Binary(data) => client.binary(data).await,
            Self::Ping(data) => client.send(0x80 | PING, data).await,
            Self::Pong(data) => client.send(0x80 | PONG, data).await,
            Self::Fragments(first, second) => {
                client.send(TEXT, first).await;
                client.send(0x80 | CONTINUATION, second).await;
            }
            Self::BinaryFragments(first, second) => {
                client.send(BINARY, first).await;
                client.send(0x80 | CONTINUATION, second).await;
            }
            Self::Hear(text) => client.expect_text(text).await,
            Self::HearBinary(data) => assert_eq!(client.expect(BINARY).await, data),
            Self::HearJoined(text) => assert_eq!(joined(client, TEXT).await, text.as_bytes()),
            Self::HearBinaryJoined(data) => assert_eq!(joined(client, BINARY).await, data),
            Self::HearPing(data) => assert_eq!(client.expect(PING).await, data.as_bytes()),
            Self::HearPong(data) => assert_eq!(client.expect(PONG).await, data.as_bytes()),
            Self::HearClose(code, reason) => assert_eq!(client.expect_close(code).await, reason),
            Self::Silence => client.expect_silence().await,
        }
    }
}

/// The next message, which is of this kind, put together from its fragments.
async fn joined(client: &mut Client, opcode: u8) -> Vec<u8> {
    let (mut whole, mut expected) = (Vec::new(), opcode);
    loop {
        let frame = client.frame().await.expect("the message to go on");
        assert_eq!(frame.opcode, expected, "{frame:?}");
        whole.extend(frame.payload);
        if frame.fin {
            return whole;
        }
        expected = CONTINUATION;
    }
}

/// Plays each row on a connection of its own. The rule and the step are printed, so a failure shows them.
async fn play(server: &TestServer, rows: &[Row<'_>]) {
    for (rule, path, steps) in rows {
        println!("{rule}: {path}");
        let mut client = server.connect(path).await;
        for step in *steps {
            println!("    {step:?}");
            step.take(&mut client).await;
        }
    }
}
