//! What grows a thousandfold when it is decompressed must not grow the server. A binary of its own, because it measures
//! the whole process.

mod support;

use endpoint_runtime::prelude::*;
use flate2::{Compress, Compression, FlushCompress};
use support::{BINARY, Client, Journal, TEXT, TestServer, frame, soon};
use tokio::io::AsyncWriteExt;

const MIB: usize = 1 << 20;
const RSV1: u8 = 0x40;

/// How much the process may take at its peak beyond what it had: the bomb, twice, and room for the runtime.
const ROOM: usize = 16 * MIB;

#[server_endpoint("/whole", compression = on)]
#[derive(Default)]
struct Whole;

impl Whole {
    #[on_message]
    fn text(&self, text: &str) -> Text {
        text.into()
    }
    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }
}

#[server_endpoint("/parts", compression = on)]
struct Parts(Journal, usize);

impl Parts {
    #[on_message]
    async fn part(&mut self, part: &[u8], last: bool) {
        self.1 += part.len();
        if last {
            self.0.note(format!("{}", self.1));
        }
    }
}

#[server_endpoint("/unwanted", compression = on(context_takeover = true))]
#[derive(Default)]
struct Unwanted;

impl Unwanted {
    #[on_message]
    fn text(&self, text: &str) -> Text {
        text.into()
    }
}

/// So many MiB of zeros, compressed. The same bytes again for each MiB: a flush ends at a byte, and zeros repeat the
/// zero before them.
fn bomb(mib: usize) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut pieces = [Vec::with_capacity(MIB), Vec::with_capacity(MIB)];
    for piece in &mut pieces {
        stream.compress_vec(&vec![0; MIB], piece, FlushCompress::Sync).unwrap();
    }
    let [first, again] = pieces;
    let mut all = [first, again.repeat(mib - 1)].concat();
    all.truncate(all.len() - 4);
    all
}

/// The most memory the process has had.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line with the peak");
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_bomb_is_1009_and_takes_no_memory() {
    let journal = Journal::default();
    let noted = journal.clone();
    let container = ServerContainer::builder()
        .register::<Whole>()
        .register::<Unwanted>()
        .endpoint_with(move |_| Ok(Parts(noted.clone(), 0)));
    let server = TestServer::with(container).await;
    let offer = ["Sec-WebSocket-Extensions: permessage-deflate"];
    let connect = async |path: &str| Client::connect_with(server.addr, path, &offer).await;
    let (large, medium) = (bomb(1024), bomb(64));
    assert!((MIB / 2..2 * MIB).contains(&large.len()), "{} bytes for 1 GiB", large.len());

    // everything was there once before anything is measured
    let mut client = connect("/whole").await;
    client.send(0x82 | RSV1, bomb(1)).await;
    while client.frame().await.is_some_and(|frame| frame.opcode != BINARY) {}
    let (whole, partial) = (frame(0x82 | RSV1, &large), frame(BINARY | RSV1, &large));
    let before = peak();

    for bytes in [&whole, &partial] {
        let mut client = connect("/whole").await;
        // it need not read all of it
        let _ = soon(client.stream.write_all(bytes)).await;
        client.expect_close(1009).await;
    }
    // as parts it is welcome, and handed on piece by piece
    let mut client = connect("/parts").await;
    client.send(0x82 | RSV1, &medium).await;
    journal.expect(&(64 * MIB).to_string()).await;
    // nobody wants it, but the context goes on
    let mut client = connect("/unwanted").await;
    client.send(0x82 | RSV1, &medium).await;
    client.expect_silence().await;
    client.send(0x80 | TEXT, "still there").await;
    client.expect_text("still there").await;

    let grown = peak() - before;
    assert!(grown < ROOM, "the peak grew by {} KiB", grown >> 10);
}
