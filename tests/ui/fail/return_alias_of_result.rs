use endpoint_runtime::prelude::*;

struct ChatError;

type Result<T> = std::result::Result<T, ChatError>;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self) -> Result<()> {
        Ok(())
    }

    #[on_message]
    fn text(&self, text: String) -> Result<String> {
        Ok(text)
    }

    #[on_message]
    async fn binary(&self, _data: Vec<u8>) -> Option<Result<()>> {
        None
    }
}

fn main() {}
