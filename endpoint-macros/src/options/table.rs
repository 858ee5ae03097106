//! The table of all options. Parsing, error messages and the documentation of the attributes read it.
//!
//! A new option of an attribute takes a row here, a field for its value and an arm in the `match` of `validate`, which does
//! not compile without that arm.

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// How to write the option, in Markdown: the first column of the documentation, and the end of an error message
    /// that starts with "write".
    pub(crate) usage: &'static str,
    /// The names of the attributes (or the option) in whose parentheses it is allowed.
    pub(crate) allowed_in: &'static [&'static str],
}

/// A section of the table: an enum with a variant for each row.
pub(crate) trait Section: Copy + PartialEq + 'static {
    const ALL: &'static [Self];

    fn row(self) -> Row;

    /// The options that are allowed in `place`.
    fn allowed_in(place: &str) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |option| option.row().allowed_in.contains(&place))
    }
}

/// Makes of each section an enum, its rows, and a macro with its rows as a Markdown table for `#[doc = …]`.
macro_rules! sections {
    ($(
        $(#[$attr:meta])*
        $section:ident, $markdown:ident {
            $($option:ident: $name:literal in [$($place:ident),+],
                write $usage:literal,
                default $default:literal,
                $about:literal;)+
        }
    )+) => {$(
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $section {
            $($option),+
        }

        impl Section for $section {
            const ALL: &'static [Self] = &[$(Self::$option),+];

            fn row(self) -> Row {
                match self {
                    $(Self::$option => Row { name: $name, usage: $usage, allowed_in: &[$(stringify!($place)),+] }),+
                }
            }
        }

        macro_rules! $markdown {
            () => {
                concat!(
                    "| Option | Default | Allowed in | Meaning |\n|---|---|---|---|\n",
                    $("| ", $usage, " | ", $default, " | ", $("`", stringify!($place), "` ",)+ "| ", $about, " |\n"),+
                )
            };
        }
        pub(crate) use $markdown;
    )+};
}

sections! {
    /// Options of an endpoint.
    EndpointOption, endpoint_options_markdown {
        Subprotocols: "subprotocols" in [server_endpoint, client_endpoint],
            write r#"`subprotocols("chat.v2", "chat.v1")`"#,
            default "none",
            "Subprotocols that a server accepts, or that a client offers, in order of preference.";
        Decoders: "decoders" in [server_endpoint, client_endpoint],
            write "`decoders(PointDecoder, PictureDecoder)`",
            default "none",
            "Decoder types for payloads, tried in this order before the payload type's own implementation.";
        Encoders: "encoders" in [server_endpoint, client_endpoint],
            write "`encoders(PointEncoder)`",
            default "none",
            "Encoder types for replies and sent objects; they take precedence over the type's own implementation.";
        Events: "events" in [server_endpoint, client_endpoint],
            write r#"`events("chat.say", "chat.leave")`"#,
            default "none",
            "Events that have handlers of their own: `#[on_message(event = \"chat.say\")]`.";
        MaxMessageSize: "max_message_size" in [server_endpoint, client_endpoint],
            write r#"`max_message_size = "64KiB"`, or an expression of type `usize`"#,
            default "container",
            "Maximum size of a whole message in bytes. A larger message closes the session with 1009.";
        MaxNesting: "max_nesting" in [server_endpoint, client_endpoint],
            write "`max_nesting = 64`, or an expression of type `usize`",
            default "container",
            "Maximum nesting depth of a message's data. Deeper data is a decode error.";
        IdleTimeout: "idle_timeout" in [server_endpoint, client_endpoint],
            write r#"`idle_timeout = "60s"`, an expression of type `Duration`, or `off`"#,
            default "container",
            "Closes the session after this time without a frame in either direction.";
        PingInterval: "ping_interval" in [server_endpoint, client_endpoint],
            write r#"`ping_interval = "30s"`, an expression of type `Duration`, or `off`"#,
            default "container",
            "Sends a ping after this time without a frame in one of the two directions.";
        PongTimeout: "pong_timeout" in [server_endpoint, client_endpoint],
            write r#"`pong_timeout = "30s"`, an expression of type `Duration`, or `off`"#,
            default "container",
            "Closes the session if nothing arrives within this time after a ping.";
        SendTimeout: "send_timeout" in [server_endpoint, client_endpoint],
            write r#"`send_timeout = "30s"`, or an expression of type `Duration`"#,
            default "container",
            "Maximum time that a message waits to be written.";
        MinReceiveRate: "min_receive_rate" in [server_endpoint, client_endpoint],
            write r#"`min_receive_rate = "1KiB"` (per second), an expression of type `usize`, or `off`"#,
            default "container",
            "Minimum rate at which a message that is taken whole must arrive.";
        MinSendRate: "min_send_rate" in [server_endpoint, client_endpoint],
            write r#"`min_send_rate = "1KiB"` (per second), an expression of type `usize`, or `off`"#,
            default "container",
            "Minimum rate at which the peer must read while messages wait for it.";
        Compression: "compression" in [server_endpoint, client_endpoint],
            write "`compression = on`, `compression = on(level = 6)`, an expression of type `Compression`, or `off`",
            default "container",
            "Compression of messages (permessage-deflate) that a server accepts, or that a client offers.";
        Overflow: "overflow" in [server_endpoint, client_endpoint],
            write "`overflow = wait`, `error`, `drop_oldest`, `drop_newest` or `close`, or an expression of type `Overflow`",
            default "container",
            "What happens to a message that does not fit into the send queue.";
        MaxSessions: "max_sessions" in [server_endpoint],
            write "`max_sessions = 10_000`, or an expression of type `usize`",
            default "no limit",
            "Maximum number of open sessions of this endpoint. Beyond it a handshake is refused with 503 and `Retry-After`.";
        MaxSessionsPer: "max_sessions_per" in [server_endpoint],
            write "`max_sessions_per(address = 20, principal = 5)`",
            default "no limit",
            "Maximum number of open sessions of one address, and of one principal. Beyond it a handshake is refused with \
             429 and `Retry-After`.";
        Rate: "rate" in [server_endpoint],
            write r#"`rate(messages = "20/s burst 40", bytes = "64KiB/s", then = slow)`, or an expression of type `MessageRate`"#,
            default "container",
            "How much the peer of a session may send, and what happens to more.";
        Intercept: "intercept" in [server_endpoint],
            write "`intercept(Audit, Quota::new(5))` (types that implement `Default`, or expressions)",
            default "none",
            "Interceptors around all handlers, the outermost first. Those of the container run outside them.";
        Configurator: "configurator" in [server_endpoint],
            write "`configurator = ChatConfigurator` (a type that implements `Default`), or an expression",
            default "none",
            "The `Configurator` that takes part in the handshake.";
        Roles: "roles" in [server_endpoint],
            write r#"`roles("admin", "ops")`"#,
            default "everybody",
            "Admits only principals with one of these roles. Any other handshake is refused with 403, or with 401 if it has no principal.";
        Presence: "presence" in [server_endpoint],
            write r#"`presence`, or `presence(grace = "15s")`"#,
            default "none",
            "Sessions are present in the rooms that they join, for `#[on_presence]` and `Room::present_here`.";
        History: "history" in [server_endpoint],
            write r#"`history(last = 100, within = "5m")`"#,
            default "none",
            "In a cluster, the engine keeps so many of each room's messages, and nodes fetch those that they missed. \
             Applies to all rooms of the container.";
        Shared: "shared" in [server_endpoint],
            write "`shared(Profile, Team)`",
            default "none",
            "Types of properties that other nodes of a cluster may ask for, and select sessions by (`Everywhere`). The last \
             word of each type is its name between nodes.";
        Instance: "instance" in [server_endpoint],
            write "`instance = shared` or `instance = per_connection`",
            default "`per_connection`",
            "Whether all connections share one instance of the type.";
    }

    /// Options of a message handler.
    MessageOption, message_options_markdown {
        Text: "text" in [on_message],
            write "`text`",
            default "from the type",
            "The message is text.";
        Binary: "binary" in [on_message],
            write "`binary`",
            default "from the type",
            "The message is binary.";
        Event: "event" in [on_message],
            write r#"`event = "chat.say"`"#,
            default "none",
            "The method handles one of the endpoint's `events(…)`.";
        MaxSize: "max_size" in [on_message],
            write r#"`max_size = "4KiB"`, or an expression of type `usize`"#,
            default "`max_message_size`",
            "Maximum size of a whole message in bytes, for this method only. Not for parts and streams.";
        MaxTotal: "max_total" in [on_message],
            write r#"`max_total = "1GiB"`, or an expression of type `u64`"#,
            default "none",
            "Maximum size in bytes of all parts of a message together, for a method that takes parts or a stream. A \
             larger message closes the session with 1009.";
        Roles: "roles" in [on_message],
            write r#"`roles("admin", "ops")`"#,
            default "everybody",
            "Handles only messages of principals with one of these roles. Any other message is dropped and reported \
             to `#[on_error]` (`is_forbidden`); the session continues.";
        Rate: "rate" in [on_message],
            write r#"`rate = "2/s"` or `rate = "10/m burst 3"`, or an expression of type `Rate`"#,
            default "none",
            "How often one session may call this method. What happens to more is the endpoint's `then`; without a `rate` of \
             the endpoint the message is dropped and reported to `#[on_error]` (`is_rate_limited`).";
    }

    /// Settings in the parentheses of `rate(…)`.
    RateOption, rate_options_markdown {
        Messages: "messages" in [rate],
            write r#"`messages = "20/s"` or `messages = "20/s burst 40"`, or an expression of type `Rate`"#,
            default "no limit",
            "Number of messages in a time (`s`, `m`, `h`, or `10s`), and how many may come at once after a quiet time.";
        Bytes: "bytes" in [rate],
            write r#"`bytes = "64KiB/s"` or `bytes = "64KiB/s burst 1MiB"`, or an expression of type `Rate`"#,
            default "no limit",
            "Payload bytes in a time, after decompression.";
        Then: "then" in [rate],
            write "`then = slow`, `drop`, `error` or `close`, or an expression of type `OverRate`",
            default "`slow`",
            "What happens to more: the socket is not read for a while, or the message is dropped, or dropped and reported, \
             or the session ends with 1008.";
    }

    /// Settings in the parentheses of `presence(…)`.
    PresenceOption, presence_options_markdown {
        Grace: "grace" in [presence],
            write r#"`grace = "15s"`, an expression of type `Duration`, or `off`"#,
            default "15 s",
            "How long a user stays present after a session has ended. A user who comes back in time has not left.";
    }

    /// Settings in the parentheses of `history(…)`.
    HistoryOption, history_options_markdown {
        Last: "last" in [history],
            write "`last = 100`, or an expression of type `usize`",
            default "100",
            "Number of messages that are kept for each room.";
        Within: "within" in [history],
            write r#"`within = "5m"`, or an expression of type `Duration`"#,
            default "5 minutes",
            "Age of the oldest message that is kept.";
    }

    /// Settings in the parentheses of `max_sessions_per(…)`.
    SessionsPerOption, sessions_per_options_markdown {
        Address: "address" in [max_sessions_per],
            write "`address = 20`, or an expression of type `usize`",
            default "no limit",
            "Number of open sessions of one address: that of the client, if `trusted_proxies` are set. An IPv6 address counts \
             by its /64. Sessions without an address do not count.";
        Principal: "principal" in [max_sessions_per],
            write "`principal = 5`, or an expression of type `usize`",
            default "no limit",
            "Number of open sessions of one user, by the name of the principal that the handshake sets. Sessions without a \
             principal do not count.";
    }

    /// Settings in the parentheses of `compression = on(…)`.
    CompressionOption, compression_options_markdown {
        Level: "level" in [compression],
            write "`level = 6`, from 1 (fastest) to 9 (smallest), or 0 (stored)",
            default "1",
            "Compression effort.";
        Threshold: "threshold" in [compression],
            write r#"`threshold = "1KiB"`, or an expression of type `usize`"#,
            default "512 bytes",
            "Smaller messages are sent uncompressed.";
        ContextTakeover: "context_takeover" in [compression],
            write "`context_takeover = true`, or an expression of type `bool`",
            default "`false`",
            "Whether a message may refer to earlier messages. It takes memory for each session.";
        WindowBits: "window_bits" in [compression],
            write "`window_bits = 12`, from 9 (512 bytes) to 15 (32 KiB)",
            default "15",
            "Size of the compression window, as a power of two.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<S: Section>() {
        for (index, option) in S::ALL.iter().enumerate() {
            let row = option.row();
            assert!(row.usage.starts_with(&format!("`{}", row.name)), "{row:?} does not start with its name");
            assert!(S::ALL[..index].iter().all(|earlier| earlier.row().name != row.name), "duplicate {row:?}");
        }
    }

    #[test]
    fn usage_starts_with_the_name_and_names_are_unique() {
        check::<EndpointOption>();
        check::<MessageOption>();
        check::<CompressionOption>();
        check::<PresenceOption>();
        check::<HistoryOption>();
        check::<SessionsPerOption>();
        check::<RateOption>();
    }

    #[test]
    fn documentation_has_a_line_for_each_row() {
        let lines = |text: &str| text.lines().count() - 2;
        assert_eq!(lines(endpoint_options_markdown!()), EndpointOption::ALL.len());
        assert_eq!(lines(message_options_markdown!()), MessageOption::ALL.len());
        assert_eq!(lines(compression_options_markdown!()), CompressionOption::ALL.len());
        assert_eq!(lines(presence_options_markdown!()), PresenceOption::ALL.len());
        assert_eq!(lines(history_options_markdown!()), HistoryOption::ALL.len());
        assert_eq!(lines(sessions_per_options_markdown!()), SessionsPerOption::ALL.len());
        assert_eq!(lines(rate_options_markdown!()), RateOption::ALL.len());
        assert!(endpoint_options_markdown!().contains(
            "| `max_nesting = 64`, or an expression of type `usize` | container | `server_endpoint` `client_endpoint` | "
        ));
    }
}
