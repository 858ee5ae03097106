//! Many threads speak to the same sessions while their handlers answer: no frame is torn, lost, doubled or out of order.

mod support;

use std::sync::mpsc;

use endpoint_runtime::prelude::*;
use support::{BINARY, CLOSE, Client, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Echoes text, and hands its sessions to the test.
#[server_endpoint("/storm")]
struct Storm {
    sessions: UnboundedSender<Session>,
}

impl Storm {
    #[on_open]
    fn open(&self, session: Session) {
        let _ = self.sessions.send(session);
    }

    #[on_message]
    async fn text(&self, message: String, session: &Session) -> String {
        // what it sends comes before what it returns
        let _ = session.basic_remote().send_text(format!("sent {message}")).await;
        message
    }
}

const SPEAKERS: usize = 3;

const PINGED: &[u8] = b"are you there?";

/// The message number `number` of a speaker: who, which, and bytes that follow from both.
fn news(speaker: usize, number: u64) -> Vec<u8> {
    let size = match number % 50 {
        0 => 70_000,
        7 => 9_000,
        n => 20 + 11 * n as usize,
    };
    let mut data = vec![speaker as u8];
    data.extend(number.to_be_bytes());
    data.extend((0..size).map(|place| (place as u64 + number) as u8));
    data
}

/// What one client has heard of the speakers.
#[derive(Default)]
struct Heard([u64; SPEAKERS]);

impl Heard {
    /// The next frame that is no broadcast and no ping of the server.
    async fn beside(&mut self, client: &mut Client) -> (u8, Vec<u8>) {
        loop {
            let frame = client.frame().await.expect("the connection has ended");
            assert_eq!((frame.fin, frame.rsv), (true, 0));
            match frame.opcode {
                BINARY => self.binary(&frame.payload),
                PING => assert_eq!(frame.payload, PINGED),
                opcode => return (opcode, frame.payload),
            }
        }
    }

    fn binary(&mut self, data: &[u8]) {
        let speaker = usize::from(data[0]);
        let number = u64::from_be_bytes(data[1..9].try_into().unwrap());
        assert_eq!(number, self.0[speaker], "of speaker {speaker}");
        assert!(data == news(speaker, number), "message {number} of speaker {speaker} is damaged");
        self.0[speaker] += 1;
    }
}

/// Asks and hears the answers among all that is broadcast; each round makes the others speak.
async fn converse(client: &mut Client, rounds: usize, turns: Vec<mpsc::Sender<()>>) -> Heard {
    let mut heard = Heard::default();
    for round in 0..rounds {
        // a message, a ping, a message, in one segment
        let (first, second) = (format!("{round} a"), format!("{round} b {}", "x".repeat(round % 300)));
        let mut sent = frame(0x80 | TEXT, first.as_bytes());
        sent.extend(frame(0x80 | PING, round.to_string().as_bytes()));
        sent.extend(frame(0x80 | TEXT, second.as_bytes()));
        client.send_raw(&sent).await;
        turns[round % turns.len()].send(()).unwrap();
        let (mut texts, mut pongs) = (Vec::new(), Vec::new());
        while texts.len() + pongs.len() < 5 {
            match heard.beside(client).await {
                (TEXT, text) => texts.push(String::from_utf8(text).unwrap()),
                (PONG, data) => pongs.push(data),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(texts, [format!("sent {first}"), first, format!("sent {second}"), second]);
        assert_eq!(pongs, [round.to_string().into_bytes()]);
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frames_of_many_threads_stay_whole_and_in_order() {
    const ROUNDS: usize = 3_000;
    let (sender, mut sessions) = unbounded_channel();
    let container = ServerContainer::builder()
        .endpoint_with(move |_| Ok(Storm { sessions: sender.clone() }))
        .send_queue(1 << 20, 1 << 30);
    let server = TestServer::with(container).await;
    let (mut clients, mut open) = (Vec::new(), Vec::new());
    for index in 0..8 {
        let socket = TcpSocket::new_v4().unwrap();
        if index % 2 == 0 {
            // large messages come in many pieces
            socket.set_recv_buffer_size(32 << 10).unwrap();
        }
        clients.push(Client::upgrade(soon(socket.connect(server.addr)).await.unwrap(), "/storm").await);
        open.push(soon(sessions.recv()).await.unwrap());
    }

    let (mut turns, mut speakers) = (Vec::new(), Vec::new());
    for speaker in 0..SPEAKERS {
        let (turn, turned) = mpsc::channel();
        turns.push(turn);
        let container = server.container.clone();
        speakers.push(std::thread::spawn(move || {
            let mut number = 0;
            // not each time: queues have to run empty
            for _ in turned.iter().step_by(8) {
                let report = container.sessions().async_remote().send_binary(news(speaker, number));
                assert_eq!((report.sent, report.dropped, report.closed), (8, 0, 0));
                number += 1;
            }
            number
        }));
    }
    let (turn, turned) = mpsc::channel();
    turns.push(turn);
    let pinger = std::thread::spawn(move || {
        for () in turned {
            for session in &open {
                session.async_remote().send_ping(PINGED).unwrap();
            }
        }
    });

    let talks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let turns = turns.clone();
            tokio::spawn(async move { (converse(&mut client, ROUNDS, turns).await, client) })
        })
        .collect();
    drop(turns);
    let mut heard = Vec::new();
    for talk in talks {
        heard.push(soon(talk).await.unwrap());
    }
    pinger.join().unwrap();
    let sent: Vec<u64> = speakers.into_iter().map(|speaker| speaker.join().unwrap()).collect();
    for (mut heard, mut client) in heard {
        client.close(1000, "").await;
        assert_eq!(heard.beside(&mut client).await, (CLOSE, vec![3, 232]));
        client.expect_end().await;
        assert_eq!(heard.0[..], sent, "some messages did not arrive");
    }
}
