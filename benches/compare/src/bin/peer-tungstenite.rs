//! tokio-tungstenite at its best: a 4 KiB read buffer instead of 128 KiB, replies fed while messages are ready and
//! flushed once. With its defaults it costs three times as much.

use anyhow::{Result, bail};
use compare::peer::{self, Hub};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

static HUB: Hub<Message> = Hub::new();

fn main() -> Result<()> {
    peer::run(|listener| peer::accept_each(listener, serve))
}

// The callback's type is tungstenite's.
#[allow(clippy::result_large_err)]
async fn serve(stream: TcpStream) -> Result<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(Some(peer::MAX_MESSAGE))
        .max_frame_size(Some(peer::MAX_MESSAGE));
    let mut path = String::new();
    let note_path = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        if matches!(path.as_str(), "/ws" | "/broadcast") { Ok(response) } else { Err(not_found()) }
    };
    let socket = accept_hdr_async_with_config(stream, note_path, Some(config)).await?;
    match path.as_str() {
        "/ws" => echo(socket).await?,
        "/broadcast" => broadcast(socket).await?,
        other => bail!("no endpoint at {other}"),
    }
    Ok(())
}

fn not_found() -> ErrorResponse {
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
    refusal
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let mut message = Some(message);
        while let Some(ready) = message {
            let ready = ready?;
            if is_data(&ready) {
                socket.feed(ready).await?;
            }
            message = socket.next().now_or_never().flatten();
        }
        match socket.flush().await {
            Ok(()) | Err(Error::ConnectionClosed) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn broadcast(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    let (id, mut queue) = HUB.join();
    let result = async {
        loop {
            tokio::select! {
                Some(message) = queue.recv() => {
                    socket.feed(message).await?;
                    while let Ok(message) = queue.try_recv() {
                        socket.feed(message).await?;
                    }
                    socket.flush().await?;
                }
                received = socket.next() => match received.transpose()? {
                    Some(message) if is_data(&message) => HUB.send(&message),
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    };
    let result = result.await;
    HUB.leave(id);
    result
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}
