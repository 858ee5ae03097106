//! A gateway of NestJS: rooms, events, an answer of several values, and a publisher in the background.
//!
//! ```ts
//! @WebSocketGateway()
//! export class EventsGateway implements OnGatewayConnection, OnGatewayDisconnect {
//!   @WebSocketServer() server: Server;
//!   @SubscribeMessage('join') join(@MessageBody('room') room, @ConnectedSocket() client) { client.join(room); … }
//!   @SubscribeMessage('message') message(@MessageBody() data, @ConnectedSocket() client) {
//!     client.to(data.room).emit('message', data.text);
//!   }
//!   @SubscribeMessage('countdown') countdown(@MessageBody() from: number): Observable<WsResponse<number>> { … }
//! }
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use futures_util::stream::{self, Stream};
use serde::Deserialize;

use crate::support::{Client, TestServer};

/// An injected service.
#[derive(Default)]
struct Presence {
    online: AtomicUsize,
}

#[derive(Deserialize)]
struct Join {
    room: String,
}

#[derive(Deserialize)]
struct Send {
    room: String,
    text: String,
}

#[server_endpoint("/gateway", events("join", "leave", "message", "identity", "countdown"))]
#[derive(Default)]
struct Events;

impl Events {
    #[on_open]
    fn handle_connection(&mut self, presence: State<Presence>) -> Event<usize> {
        Event::new("welcome", presence.online.fetch_add(1, Ordering::Relaxed) + 1)
    }

    #[on_close]
    fn handle_disconnect(&mut self, session: &Session, presence: State<Presence>) -> Result<(), Error> {
        presence.online.fetch_sub(1, Ordering::Relaxed);
        for room in session.rooms() {
            session.room(&room).async_remote().send_object(&Event::new("left", session.id()))?;
        }
        Ok(())
    }

    #[on_message(event = "join")]
    fn join(&mut self, Json(join): Json<Join>, session: &Session) -> Result<Json<usize>, CloseReason> {
        if join.room.is_empty() {
            return Err(CloseReason::truncating(CloseCode::Other(4400), "a room needs a name"));
        }
        session.join(&join.room);
        Ok(Json(session.room(&join.room).len()))
    }

    #[on_message(event = "leave")]
    fn leave(&mut self, Json(join): Json<Join>, session: &Session) -> Json<bool> {
        Json(session.leave(&join.room))
    }

    #[on_message(event = "message")]
    fn message(&mut self, Json(send): Json<Send>, session: &Session) -> Result<(), Error> {
        let others = session.room(&send.room).except(session);
        others.async_remote().send_object(&Event::new("message", send.text)).map(drop)
    }

    #[on_message(event = "identity")]
    async fn identity(&mut self, data: Json<serde_json::Value>) -> Json<serde_json::Value> {
        data
    }

    /// `from([3, 2, 1]).pipe(map(data => ({ event: 'countdown', data })))`
    #[on_message(event = "countdown")]
    fn countdown(&mut self, Json(from): Json<u32>) -> impl Stream<Item = Json<u32>> {
        stream::iter((1..=from).rev().map(Json))
    }
}

/// `@Interval(…) publish() { this.server.to('news').emit('news', …) }`
async fn publish(container: ServerContainer) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for number in 0u64.. {
        ticks.tick().await;
        if container.room("news").async_remote().send_object(&Event::new("news", number)).is_err() {
            break;
        }
    }
}

async fn emit(client: &mut Client, event: &str, data: &str) {
    client.text(&format!(r#"{{"event":"{event}","data":{data}}}"#)).await;
}

async fn hears(client: &mut Client, event: &str, data: &str) {
    client.expect_text(&format!(r#"{{"event":"{event}","data":{data}}}"#)).await;
}

#[tokio::test]
async fn gateway_behaves_as_in_nest() {
    let server = TestServer::with(ServerContainer::builder().register::<Events>().state(Presence::default())).await;
    let publisher = tokio::spawn(publish(server.container.clone()));
    let mut ann = server.connect("/gateway").await;
    hears(&mut ann, "welcome", "1").await;
    let mut ben = server.connect("/gateway").await;
    hears(&mut ben, "welcome", "2").await;
    emit(&mut ann, "join", r#"{"room":"blue"}"#).await;
    hears(&mut ann, "join", "1").await;
    emit(&mut ben, "join", r#"{"room":"blue"}"#).await;
    hears(&mut ben, "join", "2").await;
    emit(&mut ben, "message", r#"{"room":"blue","text":"hello"}"#).await;
    hears(&mut ann, "message", r#""hello""#).await;
    emit(&mut ben, "identity", "[1,2]").await;
    hears(&mut ben, "identity", "[1,2]").await;
    emit(&mut ben, "countdown", "3").await;
    for number in ["3", "2", "1"] {
        hears(&mut ben, "countdown", number).await;
    }
    let id = server
        .container
        .sessions()
        .iter()
        .find(|session| session.peer_addr() == ben.stream.local_addr().ok())
        .map(Session::id);
    ben.close(1000, "").await;
    ben.expect_close(1000).await;
    hears(&mut ann, "left", &format!("\"{}\"", id.unwrap())).await;
    emit(&mut ann, "join", r#"{"room":"news"}"#).await;
    hears(&mut ann, "join", "1").await;
    ann.expect(crate::support::TEXT).await;
    emit(&mut ann, "leave", r#"{"room":"news"}"#).await;
    publisher.abort();
    // a room without a name closes
    let mut cid = server.connect("/gateway").await;
    hears(&mut cid, "welcome", "2").await;
    emit(&mut cid, "join", r#"{"room":""}"#).await;
    cid.expect_close(4400).await;
}
