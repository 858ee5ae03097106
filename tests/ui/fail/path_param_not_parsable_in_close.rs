use endpoint_runtime::prelude::*;

struct Room;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_close]
    async fn close(&self, #[path_param] room: Room) {
        let _ = room;
    }
}

fn main() {}
