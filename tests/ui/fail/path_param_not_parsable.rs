use endpoint_runtime::prelude::*;

struct Room;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[path_param] room: Room) {
        let _ = room;
    }
}

fn main() {}
