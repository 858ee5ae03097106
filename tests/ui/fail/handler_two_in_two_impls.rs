use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn first(&self, _text: &str) {}
}

mod elsewhere {
    use endpoint_runtime::prelude::*;

    impl super::Chat {
        #[on_message]
        fn second(&self, _text: String) {}
    }
}

fn main() {}
