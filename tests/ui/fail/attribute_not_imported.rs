use endpoint_runtime::server_endpoint;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

// beside the type, the attributes need no import
mod handlers {
    impl super::Chat {
        #[on_open]
        fn open(&self) {}
    }
}

fn main() {}
