use endpoint_runtime::prelude::*;

struct Say<'a>(&'a str);

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message(text)]
    fn text(&self, _say: Say<'_>) {}

    #[on_message(binary)]
    async fn binary<'a>(&self, _say: Option<Say<'a>>) {}
}

fn main() {}
