//! Coders that an endpoint lists: when they are made, asked and destroyed, in which order, and what happens when they
//! fail; and that a listed encoder goes before what a type says of itself.

mod support;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    BinaryDecoder, BinaryEncoder, DecodeText, Encode, EncodeContext, Message, ServerContainer, ServerEndpoint,
    TextDecoder, TextEncoder,
};
use support::{BINARY, Client, Journal, TestServer};

/// Serves `E`, whose coders and handlers write into the journal.
async fn noting<E: ServerEndpoint>(journal: &Journal) -> TestServer {
    TestServer::with(ServerContainer::builder().register::<E>().state(journal.clone())).await
}

/// The journal of a coder, which learns of it when it is made.
#[derive(Default)]
struct Notes(Option<Journal>);

impl Notes {
    fn init(&mut self, who: &str, session: &Session) {
        let journal = (**session.state::<Journal>().unwrap()).clone();
        journal.note(format!("{who}: init"));
        self.0 = Some(journal);
    }

    fn note(&self, what: impl Into<String>) {
        self.0.as_ref().expect("init runs first").note(what);
    }
}

/// A word, and by whom it was decoded.
struct Word(String);

/// Sent by its listed encoder, or else as it is.
impl Encode for Word {
    fn encode(&self) -> Result<Message, Error> {
        Ok(format!("itself({})", self.0).into())
    }
    fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
        context.encode(self)
    }
}

/// Has no form of its own at all.
struct Listless(String);

macro_rules! decoder {
    ($name:ident: $trait:ident of $message:ty as $borrowed:ty => $object:ident, wills $will:expr) => {
        #[derive(Default)]
        struct $name(Notes, usize);

        impl $trait for $name {
            type Object = $object;

            fn init(&mut self, session: &Session) {
                self.0.init(stringify!($name), session);
            }

            fn will_decode(&mut self, message: &$borrowed) -> bool {
                let text = string(message);
                let will: fn(&str) -> bool = $will;
                self.0.note(format!("{}: will_decode {text}", stringify!($name)));
                will(&text)
            }

            fn decode(&mut self, message: $message) -> Result<$object, Error> {
                let text = string(&*message);
                self.1 += 1;
                self.0.note(format!("{}: decode {text}", stringify!($name)));
                match text.contains("bad") {
                    true => Err(Error::decode(message, "it is bad")),
                    false => Ok($object(format!("{}.{}({text})", stringify!($name), self.1))),
                }
            }

            fn destroy(&mut self) {
                self.0.note(concat!(stringify!($name), ": destroy"));
            }
        }
    };
}

fn string(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8(bytes.as_ref().to_vec()).unwrap()
}

decoder!(First: TextDecoder of Text as str => Word, wills |text| text.starts_with("first"));
decoder!(Second: TextDecoder of Text as str => Word, wills |text| text.contains("second"));
decoder!(Raw: BinaryDecoder of Binary as [u8] => Word, wills |text| text.starts_with("first"));
decoder!(RawToo: BinaryDecoder of Binary as [u8] => Word, wills |_| true);
decoder!(Lonely: TextDecoder of Text as str => Listless, wills |text| text != "no");

macro_rules! encoder {
    ($name:ident: $trait:ident to $message:ty, of $object:ident) => {
        #[derive(Default)]
        struct $name(Notes, usize);

        impl $trait for $name {
            type Object = $object;

            fn init(&mut self, session: &Session) {
                self.0.init(stringify!($name), session);
            }

            fn encode(&mut self, object: &$object) -> Result<$message, Error> {
                self.1 += 1;
                self.0.note(concat!(stringify!($name), ": encode"));
                match object.0.contains("unspeakable") {
                    true => Err(Error::encode("there are no words for it")),
                    false => {
                        Ok(format!("{}.{}({})", stringify!($name), self.1, object.0).into_bytes().try_into_message())
                    }
                }
            }

            fn destroy(&mut self) {
                self.0.note(concat!(stringify!($name), ": destroy"));
            }
        }
    };
}

/// Both forms of a message from the same bytes.
trait TryIntoMessage<M> {
    fn try_into_message(self) -> M;
}
impl TryIntoMessage<Text> for Vec<u8> {
    fn try_into_message(self) -> Text {
        String::from_utf8(self).unwrap().into()
    }
}
impl TryIntoMessage<Binary> for Vec<u8> {
    fn try_into_message(self) -> Binary {
        self.into()
    }
}

encoder!(Said: TextEncoder to Text, of Word);
encoder!(Bits: BinaryEncoder to Binary, of Listless);
encoder!(Never: BinaryEncoder to Binary, of Word);

impl DecodeText for Word {
    fn decode_text(text: Text) -> Result<Self, Error> {
        match &*text {
            "nonsense" => Err(Error::decode(text, "it is nonsense")),
            _ => Ok(Self(format!("itself({text})"))),
        }
    }
}

/// What a test endpoint does beside its messages.
macro_rules! notes_its_life {
    ($name:ident) => {
        impl $name {
            #[on_open]
            fn open(&self, journal: State<Journal>) {
                journal.note("on_open");
            }

            #[on_close]
            fn close(&self, journal: State<Journal>) {
                journal.note("on_close");
            }

            #[on_error]
            async fn failed(&self, error: &Error, session: &Session) {
                let (kind, what) = match (error.is_decode(), error.is_encode()) {
                    (true, _) => ("decode", error.text().map(str::to_owned).or(error.bytes().map(string))),
                    (_, true) => ("encode", None),
                    _ => ("other", None),
                };
                // as in Java, the session can still be used
                let _ =
                    session.basic_remote().send_text(format!("on_error: {kind} {}", what.unwrap_or_default())).await;
            }
        }
    };
}

#[server_endpoint("/texts", decoders(First, Second), encoders(Said, Never))]
#[derive(Default)]
struct Texts;
notes_its_life!(Texts);
impl Texts {
    #[on_message(text)]
    async fn take(&mut self, word: Word, session: &Session) -> Option<Word> {
        if word.0.contains("sent") {
            let sent = session.async_remote().send_object(&word);
            session.basic_remote().send_object(&word).await.unwrap();
            sent.unwrap();
            return None;
        }
        Some(word)
    }
}

#[server_endpoint("/bytes", decoders(First, Raw, Lonely, RawToo), encoders(Bits))]
#[derive(Default)]
struct BytesNow;
notes_its_life!(BytesNow);
impl BytesNow {
    #[on_message(binary)]
    fn take(&mut self, word: &Word) -> Result<Listless, Error> {
        Ok(Listless(word.0.clone()))
    }

    #[on_message(text)]
    fn text(&mut self, word: Listless) -> String {
        word.0
    }
}

#[tokio::test]
async fn coders_are_created_before_on_open_used_in_order_and_destroyed_after_on_close() {
    let journal = Journal::default();
    let server = noting::<Texts>(&journal).await;
    let mut client = server.connect("/texts").await;
    client.text("first of all").await;
    client.expect_text("Said.1(First.1(first of all))").await;
    // the same coders again
    client.text("second").await;
    client.expect_text("Said.2(Second.1(second))").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    for note in [
        "First: init",
        "Second: init",
        "Said: init",
        "Never: init",
        "on_open",
        "First: will_decode first of all",
        "First: decode first of all",
        "Said: encode",
        "First: will_decode second",
        "Second: will_decode second",
        "Second: decode second",
        "Said: encode",
        "on_close",
        "First: destroy",
        "Second: destroy",
        "Said: destroy",
        "Never: destroy",
    ] {
        journal.expect(note).await;
    }
    client.expect_end().await;
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn each_connection_has_its_own_coders() {
    let journal = Journal::default();
    let server = noting::<Texts>(&journal).await;
    for _ in 0..2 {
        let mut client = server.connect("/texts").await;
        client.text("first").await;
        client.expect_text("Said.1(First.1(first))").await;
        client.text("first").await;
        client.expect_text("Said.2(First.2(first))").await;
    }
}

/// What is said, and what comes back.
async fn table(client: &mut Client, binary: bool, rows: &[(&str, &str)]) {
    for (input, expected) in rows {
        if binary {
            client.binary(input.as_bytes()).await;
        } else {
            client.text(input).await;
        }
        let frame = client.frame().await.unwrap();
        assert_eq!(string(&frame.payload), *expected, "after {input:?}");
        assert_eq!(frame.opcode == BINARY, binary && !expected.starts_with("on_error"), "after {input:?}");
    }
}

#[tokio::test]
async fn text_goes_to_the_first_willing_decoder_then_to_the_type() {
    let server = noting::<Texts>(&Journal::default()).await;
    let mut client = server.connect("/texts").await;
    let rows = [
        ("first and second", "Said.1(First.1(first and second))"),
        ("second", "Said.2(Second.1(second))"),
        ("neither", "Said.3(itself(neither))"),
        // nobody else is asked when the one that would decode it fails
        ("first, bad, second", "on_error: decode first, bad, second"),
        ("second, bad", "on_error: decode second, bad"),
        ("nonsense", "on_error: decode nonsense"),
        ("first unspeakable", "on_error: encode "),
        ("first again", "Said.5(First.4(first again))"),
    ];
    table(&mut client, false, &rows).await;
}

#[tokio::test]
async fn send_object_uses_the_listed_encoder_of_its_session() {
    let server = noting::<Texts>(&Journal::default()).await;
    let mut client = server.connect("/texts").await;
    client.text("first sent").await;
    client.expect_text("Said.1(First.1(first sent))").await;
    client.expect_text("Said.2(First.1(first sent))").await;
    client.expect_silence().await;
}

#[tokio::test]
async fn binary_data_goes_to_decoders_of_binary_data_alone() {
    let journal = Journal::default();
    let server = noting::<BytesNow>(&journal).await;
    let mut client = server.connect("/bytes").await;
    let rows = [
        ("first", "Bits.1(Raw.1(first))"),
        ("other", "Bits.2(RawToo.1(other))"),
        ("first bad", "on_error: decode first bad"),
        ("unspeakable", "on_error: encode "),
        ("first", "Bits.4(Raw.3(first))"),
    ];
    table(&mut client, true, &rows).await;
    assert!(!journal.rest().iter().any(|note| note.starts_with("First: will") || note.starts_with("Lonely: will")));
}

#[tokio::test]
async fn message_without_a_willing_decoder_is_an_error_and_the_session_continues() {
    let server = noting::<BytesNow>(&Journal::default()).await;
    let mut client = server.connect("/bytes").await;
    let rows = [("no", "on_error: decode no"), ("yes", "Lonely.1(yes)")];
    table(&mut client, false, &rows).await;
}

// ---- the life of coders when others fail ----

#[server_endpoint("/closed-door", decoders(First), encoders(Said))]
#[derive(Default)]
struct ClosedDoor;
impl ClosedDoor {
    #[on_open]
    fn open(&self) -> Result<(), Error> {
        Err(Error::user("no entry"))
    }
    #[on_message(text)]
    fn take(&mut self, word: Word) -> Word {
        word
    }
    #[on_close]
    fn close(&self, journal: State<Journal>) {
        journal.note("on_close");
    }
}

#[tokio::test]
async fn coders_are_destroyed_after_a_failed_on_open() {
    let journal = Journal::default();
    let server = noting::<ClosedDoor>(&journal).await;
    let mut client = server.connect("/closed-door").await;
    client.expect_close(1011).await;
    for note in ["First: init", "Said: init", "on_close", "First: destroy", "Said: destroy"] {
        journal.expect(note).await;
    }
}

/// Panics when it is made, or when it is destroyed.
#[derive(Default)]
struct Bomb(bool);
impl TextDecoder for Bomb {
    type Object = Word;
    fn init(&mut self, session: &Session) {
        self.0 = session.query_string() == Some("late");
        assert!(self.0, "no fuse");
    }
    fn decode(&mut self, _: Text) -> Result<Word, Error> {
        panic!("hit")
    }
    fn destroy(&mut self) {
        panic!("too late")
    }
}

#[server_endpoint("/bomb", decoders(First, Bomb), encoders(Said))]
#[derive(Default)]
struct Bombed;
notes_its_life!(Bombed);
impl Bombed {
    #[on_message(text)]
    fn take(&mut self, word: Word) -> Word {
        word
    }
}

#[tokio::test]
async fn panic_in_a_coders_constructor_ends_the_session_before_on_open_returns() {
    let journal = Journal::default();
    let server = noting::<Bombed>(&journal).await;
    let mut client = server.connect("/bomb").await;
    client.expect_text("on_error: other ").await;
    client.expect_close(1011).await;
    for note in ["First: init", "on_close", "First: destroy"] {
        journal.expect(note).await;
    }
}

#[tokio::test]
async fn a_coder_that_panics_later_ends_the_session_and_the_others_are_still_destroyed() {
    let journal = Journal::default();
    let server = noting::<Bombed>(&journal).await;
    let mut client = server.connect("/bomb?late").await;
    client.text("x").await;
    client.expect_text("on_error: other ").await;
    client.expect_close(1011).await;
    for note in
        ["First: init", "Said: init", "on_open", "First: will_decode x", "on_close", "First: destroy", "Said: destroy"]
    {
        journal.expect(note).await;
    }
}

#[test]
fn coders_are_destroyed_when_the_task_of_their_connection_is_dropped() {
    let journal = Journal::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut client = runtime.block_on(async {
        let server = noting::<Texts>(&journal).await;
        let mut client = server.connect("/texts").await;
        client.text("first").await;
        client.expect_text("Said.1(First.1(first))").await;
        std::mem::forget(server);
        client
    });
    runtime.shutdown_timeout(support::DEADLINE);
    let _ = &mut client;
    let notes = journal.rest();
    let end: Vec<&str> = notes.iter().map(String::as_str).skip_while(|note| *note != "on_close").collect();
    assert_eq!(
        end,
        ["on_close", "First: destroy", "Second: destroy", "Said: destroy", "Never: destroy"],
        "all notes: {notes:?}"
    );
}

#[tokio::test]
async fn encoders_end_with_their_session() {
    #[server_endpoint("/kept", encoders(Said))]
    struct Kept(tokio::sync::mpsc::UnboundedSender<Session>);
    impl Kept {
        #[on_open]
        fn open(&self, session: Session) {
            self.0.send(session).unwrap();
        }
    }
    let (sender, mut sessions) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::default();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Kept(sender.clone()))).state(journal.clone());
    let server = TestServer::with(container).await;
    let mut client = server.connect("/kept").await;
    let session = support::soon(sessions.recv()).await.unwrap();
    // from another task, too
    session.basic_remote().send_object(&Word("a".into())).await.unwrap();
    client.expect_text("Said.1(a)").await;
    // a broadcast asks the encoder of the first session
    session.open_sessions().async_remote().send_object(&Word("b".into())).unwrap();
    client.expect_text("Said.2(b)").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    for note in ["Said: init", "Said: encode", "Said: encode", "Said: destroy"] {
        journal.expect(note).await;
    }
    assert!(session.basic_remote().send_object(&Word("c".into())).await.unwrap_err().is_closed());
    assert_eq!(journal.rest(), [""; 0]);
}

// ---- encoders for what everything can be sent as ----

macro_rules! constants {
    ($($module:ident: $type:ty = $value:expr;)*) => {$(
        mod $module {
            use super::*;

            #[derive(Default)]
            pub struct ToText;
            impl TextEncoder for ToText {
                type Object = $type;
                fn encode(&mut self, _: &$type) -> Result<Text, Error> {
                    Ok(stringify!($module).into())
                }
            }

            #[derive(Default)]
            pub struct ToBinary;
            impl BinaryEncoder for ToBinary {
                type Object = $type;
                fn encode(&mut self, _: &$type) -> Result<Binary, Error> {
                    Ok(stringify!($module).as_bytes().into())
                }
            }

            macro_rules! endpoint {
                ($name:ident, $path:literal, $encoder:ident) => {
                    #[server_endpoint($path, encoders($encoder))]
                    #[derive(Default)]
                    pub struct $name;
                    impl $name {
                        #[on_message]
                        async fn how(&mut self, how: String, session: &Session) -> Result<Option<$type>, Error> {
                            let value: $type = $value;
                            match how.as_str() {
                                "basic" => session.basic_remote().send_object(&value).await?,
                                "async" => session.async_remote().send_object(&value)?.await?,
                                "lent" => session.basic_remote().send_object(&&value).await?,
                                _ => return Ok(Some(value)),
                            }
                            Ok(None)
                        }
                        #[on_message]
                        fn now(&mut self, _: Vec<u8>) -> $type {
                            $value
                        }
                    }
                };
            }
            endpoint!(Texts, "/text", ToText);
            endpoint!(Binaries, "/binary", ToBinary);

            #[tokio::test]
            async fn listed_encoder_takes_precedence_over_the_types_own() {
                let container = ServerContainer::builder().register::<Texts>().register::<Binaries>();
                let server = TestServer::with(container).await;
                for (path, opcode) in [("/text", support::TEXT), ("/binary", BINARY)] {
                    let mut client = server.connect(path).await;
                    for how in ["basic", "async", "lent", "reply"] {
                        client.text(how).await;
                        assert_eq!(string(client.expect(opcode).await), stringify!($module), "{how}");
                    }
                    client.binary(b"reply").await;
                    assert_eq!(string(client.expect(opcode).await), stringify!($module));
                }
            }
        }
    )*};
}

constants! {
    of_bool: bool = false;
    of_char: char = 'j';
    of_i8: i8 = -100;
    of_i16: i16 = -101;
    of_i32: i32 = -102;
    of_i64: i64 = -103;
    of_f32: f32 = -104.0;
    of_f64: f64 = -105.0;
    of_string: String = String::from("own");
    of_bytes: Vec<u8> = vec![1];
}

/// A decoder goes before what a type says of itself, too.
#[derive(Default)]
struct Lenient;
impl TextDecoder for Lenient {
    type Object = bool;
    fn decode(&mut self, text: Text) -> Result<bool, Error> {
        Ok(text.eq_ignore_ascii_case("true"))
    }
}

#[server_endpoint("/lenient", decoders(Lenient))]
#[derive(Default)]
struct LenientBool;
impl LenientBool {
    #[on_message]
    fn take(&self, value: bool) -> String {
        value.to_string()
    }
}

#[tokio::test]
async fn listed_decoder_takes_precedence_over_the_types_own() {
    let server = TestServer::of::<LenientBool>().await;
    let mut client = server.connect("/lenient").await;
    table(&mut client, false, &[("TRUE", "true"), ("yes", "false")]).await;
}

/// Has an encoder that an endpoint lists, and no `Encode`.
struct Bare(String);

#[derive(Default)]
struct BareEncoder;

impl TextEncoder for BareEncoder {
    type Object = Bare;

    fn encode(&mut self, bare: &Bare) -> Result<Text, Error> {
        Ok(format!("bare({})", bare.0).into())
    }
}

#[server_endpoint("/bare", encoders(BareEncoder))]
#[derive(Default)]
struct Lists;

impl Lists {
    #[on_message]
    async fn say(&self, text: String, session: &Session) -> Result<Bare, Error> {
        session.basic_remote().send_object(&Bare(format!("basic {text}"))).await?;
        session.async_remote().send_object(&Bare(format!("async {text}")))?;
        let report = session.open_sessions().async_remote().send_object(&Bare(format!("all {text}")))?;
        assert_eq!(report.sent, 1);
        Ok(Bare(format!("reply {text}")))
    }
}

#[server_endpoint("/lists-nothing")]
#[derive(Default)]
struct ListsNothing;

impl ListsNothing {
    #[on_message]
    fn say(&self, text: &str, session: &Session) -> bool {
        let Err(error) = session.async_remote().send_object(&Bare(text.to_owned())) else { return false };
        error.is_encode() && error.to_string().contains("endpoint lists no encoder for codecs::Bare")
    }
}

#[tokio::test]
async fn a_listed_encoder_is_enough_to_send_an_object() {
    let container = ServerContainer::builder().register::<Lists>().register::<ListsNothing>();
    let server = TestServer::with(container).await;
    let mut client = server.connect("/bare").await;
    client.text("x").await;
    for sent in ["bare(basic x)", "bare(async x)", "bare(all x)", "bare(reply x)"] {
        client.expect_text(sent).await;
    }
    let mut client = server.connect("/lists-nothing").await;
    client.text("x").await;
    client.expect_text("true").await;
}
