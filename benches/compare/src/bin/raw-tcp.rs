//! The floor: a TCP echo on tokio that knows no WebSocket.
//!
//! It answers the upgrade request with a canned 101, so that the same load opens it the same way, and from then on
//! writes back what it reads. Buffers come from a pool, so an idle connection holds none and a long write needs no copy.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use anyhow::{Result, ensure};
use compare::{handshake, peer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

const BUFFER: usize = 256 << 10;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn main() -> Result<()> {
    peer::run(|listener| peer::accept_each(listener, serve))
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    upgrade(&mut stream).await?;
    loop {
        let (buffer, length) = read(&mut stream).await?;
        let written = stream.write_all(&buffer[..length]).await;
        POOL.with_borrow_mut(|pool| pool.push(buffer));
        written?;
        if length == 0 {
            return Ok(());
        }
    }
}

async fn upgrade(stream: &mut TcpStream) -> Result<()> {
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        let length = stream.read_buf(&mut request).await?;
        ensure!(length > 0 && request.len() < 8192, "no upgrade request");
    }
    Ok(stream.write_all(handshake::CANNED_RESPONSE).await?)
}

/// Takes a buffer only when there is something to read.
async fn read(stream: &mut TcpStream) -> Result<(Box<[u8]>, usize)> {
    poll_fn(|cx| {
        let mut buffer = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let mut into = ReadBuf::new(&mut buffer);
        let poll = Pin::new(&mut *stream).poll_read(cx, &mut into);
        let length = into.filled().len();
        match poll {
            Poll::Ready(Ok(())) => Poll::Ready(Ok((buffer, length))),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e.into())),
            Poll::Pending => {
                POOL.with_borrow_mut(|pool| pool.push(buffer));
                Poll::Pending
            }
        }
    })
    .await
}
