//! fastwebsockets over hyper's upgrade, unsplit, automatic pong and close, as its README shows. It has no `/broadcast`:
//! an unsplit socket cannot wait for a queue and a frame at once (its `read_frame` is not cancel safe).

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use compare::peer;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

fn main() -> Result<()> {
    peer::run(|listener| peer::accept_each(listener, serve))
}

async fn serve(stream: TcpStream) -> Result<()> {
    let http = hyper::server::conn::http1::Builder::new();
    Ok(http.serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades().await?)
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let status = if request.uri().path() != "/ws" {
        StatusCode::NOT_FOUND
    } else {
        match upgrade::upgrade(&mut request) {
            Ok((response, socket)) => {
                tokio::spawn(tokio::task::unconstrained(echo(socket)));
                return Ok(response);
            }
            Err(_) => StatusCode::BAD_REQUEST,
        }
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

async fn echo(socket: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = socket.await?;
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    socket.set_max_message_size(peer::MAX_MESSAGE);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
