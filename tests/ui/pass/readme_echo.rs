use endpoint_runtime::prelude::*;

#[server_endpoint("/ws")]
#[derive(Default)]
pub struct WsServer {
    session: Option<Session>,
}

impl WsServer {
    #[on_open]
    async fn on_open(&mut self, session: Session) {
        self.session = Some(session);
    }

    #[on_message]
    async fn on_message(&mut self, message: String, _session: &Session) -> Result<String, Error> {
        Ok(message)
    }

    #[on_close]
    async fn on_close(&mut self, session: &Session, reason: CloseReason) {
        let _ = (session, reason);
    }

    #[on_error]
    async fn on_error(&mut self, error: &Error) {
        let _ = error;
    }
}

fn main() {}
