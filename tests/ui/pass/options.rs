//! Every option in every form.
#![deny(warnings)]

use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Interceptor, MessageRate, OverRate};

const LIMIT: usize = 1024;
const TIME: Duration = Duration::from_secs(5);

#[server_endpoint(
    "/all",
    subprotocols("chat.v2", "chat.v1"),
    max_message_size = "64KiB",
    max_nesting = 64,
    idle_timeout = "60s",
    ping_interval = "500ms",
    pong_timeout = "20s",
    min_send_rate = "2KiB",
    min_receive_rate = 4096,
    send_timeout = "5m",
    overflow = drop_oldest,
    compression = on(level = 6, threshold = "1KiB", context_takeover = true, window_bits = 12)
)]
struct Words;

#[server_endpoint("/expressions", overflow = Overflow::Close, max_message_size = LIMIT * 2, max_nesting = LIMIT / 2, idle_timeout = TIME, ping_interval = Duration::from_millis(20), send_timeout = TIME)]
struct Expressions;

#[server_endpoint("/sessions", max_sessions = 10_000, max_sessions_per(address = 20, principal = LIMIT))]
struct Sessions;

#[server_endpoint("/sessions/address", max_sessions = LIMIT, max_sessions_per(address = 20))]
struct SessionsOfAnAddress;

#[server_endpoint("/numbers", max_message_size = 65_536)]
struct Number;

#[server_endpoint("/typed", max_message_size = 65_536usize)]
struct TypedNumber;

#[server_endpoint("/off", idle_timeout = off, ping_interval = off, pong_timeout = off, min_send_rate = off, compression = off)]
struct Off;

#[server_endpoint("/on", compression = on)]
struct On;

#[server_endpoint("/nothing", compression = on())]
struct Nothing;

const KEEP: bool = true;
const COMPRESSION: endpoint_runtime::Compression = endpoint_runtime::Compression::ON.level(3);

#[server_endpoint("/compressed", compression = on(threshold = LIMIT, context_takeover = KEEP))]
struct Compressed;

#[server_endpoint("/constant", compression = COMPRESSION)]
struct Constant;

#[server_endpoint("/methods", compression = COMPRESSION.window_bits(9))]
struct Methods;

#[server_endpoint("/limits")]
struct Limits;

impl Limits {
    #[on_message(max_size = "4KiB")]
    fn text(&self, _text: &str) {}
    #[on_message(binary, max_size = LIMIT)]
    fn binary(&self, _data: &[u8]) {}
}

const _: () = {
    use endpoint_runtime::__private::EndpointHandlers;
    assert!(matches!(<Limits as EndpointHandlers>::TEXT.max_size, Some(4096)));
    assert!(matches!(<Limits as EndpointHandlers>::BINARY.max_size, Some(LIMIT)));
};

#[derive(Default)]
struct Audit(u32);

impl Interceptor for Audit {}

const RATE: MessageRate = MessageRate::new().bytes(Rate::per_second(1024)).then(OverRate::Drop);
const THEN: OverRate = OverRate::Error;

#[server_endpoint(
    "/guarded",
    rate(messages = "20/s burst 40", bytes = "64KiB/10s burst 1MiB", then = close),
    intercept(Audit, Audit(5), Audit::default())
)]
struct Guarded;

impl Guarded {
    #[on_message(rate = "2/s")]
    fn text(&self, _text: &str) {}
    #[on_message(rate = Rate::per_second(3))]
    async fn binary(&self, _data: Vec<u8>) {}
    #[on_message(rate = "1/m burst 2")]
    fn alive(&self, _: Pong) {}
}

#[server_endpoint("/rates", rate = RATE)]
struct Rates;

#[server_endpoint("/then", rate(bytes = Rate::new(10, TIME), then = THEN))]
struct Then;

fn main() {}
