//! Handlers of every kind, as an ordinary `fn` and as an `async fn`, with `&self` and with `&mut self`.
use endpoint_runtime::prelude::*;

#[server_endpoint("/sync")]
struct Sync;

impl Sync {
    #[on_open]
    fn open(&self) {}
    #[on_message]
    fn text(&mut self, text: &str) -> Option<usize> {
        (!text.is_empty()).then_some(text.len())
    }
    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }
    #[on_message]
    fn pong(&self, pong: &Pong) {
        let _ = pong.data();
    }
    #[on_close]
    fn close(&mut self, reason: &CloseReason) {
        let _ = reason;
    }
    #[on_error]
    fn error(&self, session: &Session, error: Error) -> Result<(), Error> {
        let _ = session;
        Err(error)
    }
}

#[server_endpoint("/async")]
struct Async {
    count: u64,
}

impl Async {
    #[on_open]
    async fn open(&mut self, session: &Session) -> Result<(), std::io::Error> {
        let _ = session.path_params();
        Ok(())
    }
    #[on_message]
    async fn text(&mut self, text: &str) -> usize {
        self.count += 1;
        std::future::ready(text).await.len()
    }
    #[on_message]
    async fn binary(&self, data: &[u8]) -> Vec<u8> {
        std::future::ready(data).await.to_vec()
    }
    #[on_message]
    async fn pong(&self, pong: Pong) -> String {
        format!("{:?}", pong.data())
    }
    #[on_close]
    async fn close(&mut self) {}
    #[on_error]
    async fn error(&self, error: &Error) {
        let _ = error;
    }
}

fn main() {}
