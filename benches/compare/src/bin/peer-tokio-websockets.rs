//! tokio-websockets, one send per message: it flushes before each read, so feeding could not batch anyway.

use anyhow::{Result, bail};
use compare::peer::{self, Hub};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{Error, Limits, Message, ServerBuilder, WebSocketStream};

static HUB: Hub<Message> = Hub::new();

fn main() -> Result<()> {
    peer::run(|listener| peer::accept_each(listener, serve))
}

async fn serve(stream: TcpStream) -> Result<()> {
    let limits = Limits::default().max_payload_len(Some(peer::MAX_MESSAGE));
    let (request, socket) = ServerBuilder::new().limits(limits).accept(stream).await?;
    match request.uri().path() {
        "/ws" => echo(socket).await?,
        "/broadcast" => broadcast(socket).await?,
        // Its 101 is already out; hanging up is all that is left.
        other => bail!("no endpoint at {other}"),
    }
    Ok(())
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(message) = socket.next().await.transpose()? {
        if is_data(&message) {
            socket.send(message).await?;
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
