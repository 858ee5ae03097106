//! axum's WebSocket with its defaults, as people use it. It has no `/broadcast` here: axum brings no fan-out of its own,
//! so it would be tokio-tungstenite's row once more.

use anyhow::Result;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use compare::peer;

fn main() -> Result<()> {
    peer::run(|listener| async {
        let listener = listener.tap_io(|stream| {
            if let Err(e) = stream.set_nodelay(true) {
                eprintln!("cannot set TCP_NODELAY: {e}");
            }
        });
        Ok(axum::serve(listener, Router::new().route("/ws", any(upgrade))).await?)
    })
}

async fn upgrade(request: WebSocketUpgrade) -> Response {
    request.max_message_size(peer::MAX_MESSAGE).max_frame_size(peer::MAX_MESSAGE).on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}
