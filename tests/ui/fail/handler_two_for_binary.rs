use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn parts(&self, _part: &[u8], last: bool) {
        let _ = last;
    }

    #[on_message]
    async fn whole(&self, _data: Vec<u8>) {}
}

fn main() {}
