//! Handlers of events: in any module, ordinary and async, with and without data, beside an ordinary text handler.
#![deny(warnings)]

use endpoint_runtime::Event;
use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}", events("chat.say", "chat_say", "ChatSay", "é {x}", "leave"))]
#[derive(Default)]
pub struct Chat {
    line: String,
}

impl Chat {
    #[on_message(event = "chat.say")]
    async fn say(&mut self, Json(line): Json<String>, session: &Session) -> Result<Option<Json<usize>>, Error> {
        session.basic_remote().send_object(&Event::new("said", &line)).await?;
        self.line = line;
        Ok(Some(Json(self.line.len())))
    }

    #[on_message(event = "chat_say")]
    fn say_now(&mut self, line: &Json<String>) -> Json<&str> {
        self.line.clone_from(line);
        Json(&self.line)
    }

    #[on_message]
    fn other(&self, _text: &str, #[path_param] room: &str) -> usize {
        room.len()
    }
}

mod elsewhere {
    use endpoint_runtime::Event;
    use endpoint_runtime::prelude::*;

    impl super::Chat {
        #[on_message(event = "ChatSay")]
        async fn camel(&self, _event: Event<Vec<u8>>) -> Event<()> {
            Event::new("camel", ())
        }

        #[on_message(event = "é {x}")]
        async fn odd(&mut self) {}

        #[on_message(event = "leave")]
        fn leave(&mut self, session: Session) {
            session.close();
        }
    }
}

fn main() {}
