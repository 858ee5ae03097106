use endpoint_runtime::prelude::*;

struct Room;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_error]
    fn error(&self, _error: &Error, #[path_param] room: Option<Room>) {
        let _ = room;
    }
}

fn main() {}
