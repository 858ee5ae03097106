//! What the benchmarks talk to: an echo of everything, one that keeps its compression contexts, and a broadcast; not a
//! word per message.
//!
//! `cargo run --profile bench-lto --example bench_server -- --addr 127.0.0.1:9001 --threads 1`

use std::num::NonZeroUsize;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Call, Interceptor, Next, Outcome};

#[server_endpoint("/ws", max_message_size = "64MiB", compression = on)]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    async fn text(&self, message: Text) -> Text {
        message
    }

    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }
}

#[server_endpoint("/keeping", max_message_size = "64MiB", compression = on(context_takeover = true))]
#[derive(Default)]
struct Keeping;

impl Keeping {
    #[on_message]
    async fn text(&self, message: Text) -> Text {
        message
    }

    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }
}

#[server_endpoint("/broadcast", max_message_size = "64MiB", compression = on)]
#[derive(Default)]
struct Everyone;

impl Everyone {
    #[on_message]
    async fn text(&self, message: Text, session: &Session) {
        session.open_sessions().async_remote().send_text(message);
    }

    #[on_message]
    async fn binary(&self, data: Binary, session: &Session) {
        session.open_sessions().async_remote().send_binary(data);
    }
}

/// Looks at every message, and passes it on.
struct Looking;

impl Interceptor for Looking {
    async fn message(&self, call: Call<'_>, next: Next<'_>) -> Outcome {
        std::hint::black_box((call.kind(), call.size(), call.is_handled()));
        next.run(call).await
    }
}

fn usage() -> ! {
    eprintln!("usage: bench_server [--addr HOST:PORT] [--threads N] [--intercept] [--measure]");
    std::process::exit(2)
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (mut addr, mut threads) = ("127.0.0.1:9001".to_owned(), None);
    let (mut intercepts, mut measures) = (false, false);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage());
        match name.as_str() {
            "--addr" => addr = value(),
            "--threads" => threads = Some(value().parse::<NonZeroUsize>().unwrap_or_else(|_| usage()).get()),
            "--intercept" => intercepts = true,
            "--measure" => measures = true,
            _ => usage(),
        }
    }
    let runtime = match threads {
        Some(1) => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        Some(threads) => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
        None => tokio::runtime::Runtime::new()?,
    };
    runtime.block_on(async {
        let builder = Server::builder().quiet().measure_handlers(measures);
        let builder = if intercepts { builder.intercept(Looking) } else { builder };
        let server = builder.bind(addr).await?;
        let addr = server.local_addr()?;
        println!("endpoint: ws://{addr}/ws");
        println!("endpoint: ws://{addr}/keeping");
        println!("endpoint: ws://{addr}/broadcast");
        server.run().await
    })
}
