use std::future::Future;
use std::pin::Pin;

use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

trait Talk {
    fn text<'life0, 'async_trait>(
        &'life0 self,
        text: String,
    ) -> Pin<Box<dyn Future<Output = String> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait;
}

// what `#[async_trait]` makes of an `async fn`, before the attributes of the method are read
impl Talk for Chat {
    #[on_message]
    fn text<'life0, 'async_trait>(
        &'life0 self,
        text: String,
    ) -> Pin<Box<dyn Future<Output = String> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { text })
    }
}

fn main() {}
