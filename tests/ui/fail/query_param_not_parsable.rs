use endpoint_runtime::prelude::*;

struct Page;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[query_param] page: Page, #[query_param] tags: Vec<&str>) {
        let _ = (page, tags);
    }
}

fn main() {}
