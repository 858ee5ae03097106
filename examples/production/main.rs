//! One program with everything that a server on the internet needs, behind flags and environment variables: limits, TLS,
//! proxies, logins, metrics, and a drain before it stops.
//!
//! `cargo run --release -p examples --example production` and open the printed page. README.md has all flags.

// its arguments are read by clap
#[allow(dead_code, unused_imports)]
#[path = "../shared/mod.rs"]
mod shared;

mod login;
mod options;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{Drain, Http2, Listener, MessageRate, OverRate};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use login::Login;
use options::Options;

/// Sends every message back.
#[server_endpoint("/ws", max_message_size = "256KiB", compression = on)]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_owned()
    }

    #[on_error]
    fn failed(&self, error: &Error, session: &Session) {
        tracing::info!(session = %session.id(), %error, "a message was not handled");
    }
}

/// The server with the settings of the command line; a limit that is not given is off, or has its safe default.
fn server(options: &Options) -> Result<ServerBuilder, Box<dyn std::error::Error>> {
    let mut server = Server::builder()
        .proxy_protocol(options.proxy_protocol.into())
        .trusted_proxies(&options.trusted_proxies)
        .http2(Http2::default());
    if !options.allowed_hosts.is_empty() {
        server = server.allowed_hosts(&options.allowed_hosts);
    }
    if options.allowed_origins == ["*"] {
        server = server.origins(Origins::any());
    } else if !options.allowed_origins.is_empty() {
        server = server.allowed_origins(&options.allowed_origins);
    }
    if let Some(most) = options.max_connections {
        server = server.max_connections(most);
    }
    if let Some(most) = options.max_connections_per_address {
        server = server.max_connections_per_address(most);
    }
    if let Some(rate) = options.handshakes_per_address {
        server = server.handshake_rate_per_address(rate);
    }
    if let Some(most) = options.max_sessions {
        server = server.max_sessions(most);
    }
    if let Some(most) = options.max_sessions_per_address {
        server = server.max_sessions_per_address(most);
    }
    if let Some(rate) = options.rate {
        server = server.rate(MessageRate::new().messages(rate).then(OverRate::Slow));
    }
    if let Some(secret) = &options.jwt_secret {
        server = server.handshake(Login::new(secret));
    }
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        // looked at every minute: a renewed certificate needs no restart
        server = server.tls(TlsConfig::from_files(certificate, key)?);
    }
    if let Some(over) = options.drain {
        server = server.drain(Drain::over(over));
    }
    // the port of a socket unit of systemd, if it passes one
    let is_passed = std::env::var_os("LISTEN_FDS").is_some();
    Ok(server.listen(if is_passed { Listener::systemd() } else { Listener::tcp(&options.addr) }))
}

/// The pages for operators: they tell everything to whoever asks, so they have a port of their own.
fn admin(container: &ServerContainer) -> axum::Router {
    shared::pages(include_str!("page.html"), shared::Lang::English)
        .route_service("/metrics", container.metrics_service())
        .route_service("/healthz", container.health_service())
        .route_service("/readyz", container.readiness_service())
        .route_service("/stats", container.stats_service())
}

/// Resolve at the first and at the second of Ctrl-C and SIGTERM.
fn stop_signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let count = watch::Sender::new(0);
    let (mut first, mut second) = (count.subscribe(), count.subscribe());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    let at_first = async move { drop(first.wait_for(|count| *count >= 1).await) };
    let at_second = async move { drop(second.wait_for(|count| *count >= 2).await) };
    Ok((at_first, at_second))
}

async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    // from here on, so that no signal is lost
    let (first, second) = stop_signals()?;
    let server = server(&options)?.build().await?;
    let admin_listener = TcpListener::bind(&options.admin_addr)
        .await
        .map_err(|error| format!("cannot listen on {} (--admin-addr): {error}", options.admin_addr))?;
    println!("page: http://{}/", admin_listener.local_addr()?);
    let scheme = if options.tls_cert.is_some() { "wss" } else { "ws" };
    for addr in server.local_addrs() {
        println!("endpoint: {scheme}://{addr}/ws");
    }
    let (ends, ended) = oneshot::channel::<()>();
    let admin = axum::serve(admin_listener, admin(server.container()))
        // readiness has to be readable until the last session has left
        .with_graceful_shutdown(async move { drop(ended.await) });
    let admin = tokio::spawn(admin.into_future());
    let stopped = server.run_draining(first, second).await?;
    tracing::info!(?stopped, "stopped");
    drop(ends);
    // a client of the operators' page that does not finish its request must not hold the process
    match timeout(Duration::from_secs(1), admin).await {
        Ok(ended) => Ok(ended??),
        Err(_) => Ok(()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("production: {error}");
            ExitCode::FAILURE
        }
    }
}
