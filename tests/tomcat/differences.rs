//! Where our server answers otherwise than Tomcat, and by which rule.

/// The lines of a script's transcript that only one of the two has.
pub struct Difference {
    /// The scripts that differ in this way.
    pub scripts: &'static [&'static str],
    pub tomcat: &'static [&'static str],
    pub ours: &'static [&'static str],
    /// The rule that says why ours is otherwise.
    pub rule: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[
    // ---- messages ----
    Difference {
        scripts: &["lengths that are not minimal"],
        tomcat: &["text \"a\"", "text \"b\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        ours: &[
            "close 1002, its own reason",
            "endpoint: error of the container",
            "endpoint: close 1002, its own reason",
        ],
        rule: "RFC 6455 §5.2: a length must use the minimal number of bytes.",
    },
    Difference {
        scripts: &[
            "6 bytes of text with a limit of 5",
            "6 bytes of binary with a limit of 5",
            "6 bytes in fragments with a limit of 5",
            "compressed message above the limit",
        ],
        tomcat: &[],
        ours: &["endpoint: error of the container"],
        rule: "Jakarta, `OnMessage.maxMessageSize` and `Endpoint.onError`: a message above the limit is reported to \
               the error handler.",
    },
    Difference {
        scripts: &["3 characters in 6 bytes with a limit of 5"],
        tomcat: &["text \"ööö\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        ours: &[
            "close 1009, its own reason",
            "endpoint: error of the container",
            "endpoint: close 1009, its own reason",
        ],
        rule: "Jakarta, `OnMessage.maxMessageSize`: the limit is in bytes, also for text.",
    },
    Difference {
        scripts: &["10,000 bytes without a limit in the annotation"],
        tomcat: &["close 1009, its own reason", "endpoint: close 1009, its own reason"],
        ours: &["text of 10000 bytes (76bb4805)", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta, `WebSocketContainer`: the default is the container's. Ours is 1 MiB, Tomcat's 8 KiB.",
    },
    // ---- values ----
    Difference {
        scripts: &[
            "byte out of range",
            "invalid int",
            "empty int",
            "int with a fraction",
            "int with a space",
            "char from an empty message",
        ],
        tomcat: &[
            "close 1002, its own reason",
            "endpoint: error of the container",
            "endpoint: close 1006, its own reason",
        ],
        ours: &[
            "text \"1\"",
            "close 1000, \"so: done\"",
            "endpoint: error of decoding",
            "endpoint: close 1000, \"so: done\"",
        ],
        rule: "Jakarta, `Endpoint.onError` and its TCK: a message that does not decode is reported to the error \
               handler as a `DecodeException`, and the session continues.",
    },
    Difference {
        scripts: &["invalid int, without an error handler"],
        tomcat: &["close 1002, its own reason", "endpoint: close 1006, its own reason"],
        ours: &["close 1007, its own reason", "endpoint: close 1007, its own reason"],
        rule: "Jakarta does not specify an error without a handler. RFC 6455 §7.4.1: 1007 is for data that does not \
               match its type; 1002 is for protocol violations, and there was none.",
    },
    Difference {
        scripts: &["float without a fraction"],
        tomcat: &["text \"123.0\""],
        ours: &["text \"123\""],
        rule: FLOATS,
    },
    Difference {
        scripts: &["smallest float"],
        tomcat: &["text \"1.4E-45\""],
        ours: &["text \"0.000000000000000000000000000000000000000000001\""],
        rule: FLOATS,
    },
    Difference { scripts: &["infinite float"], tomcat: &["text \"Infinity\""], ours: &["text \"inf\""], rule: FLOATS },
    Difference {
        scripts: &["largest double"],
        tomcat: &["text \"1.7976931348623157E308\""],
        ours: &["text of 309 bytes (e8305c1d)"],
        rule: FLOATS,
    },
    Difference {
        scripts: &["objects that are floats"],
        tomcat: &["text \"-105.0\""],
        ours: &["text \"-105\""],
        rule: FLOATS,
    },
    Difference {
        scripts: &["boolean in capitals"],
        tomcat: &["text \"true\""],
        ours: &["endpoint: error of decoding"],
        rule: BOOLEANS,
    },
    Difference {
        scripts: &["invalid boolean"],
        tomcat: &["text \"false\""],
        ours: &["endpoint: error of decoding"],
        rule: BOOLEANS,
    },
    Difference {
        scripts: &["char beyond 16 bits"],
        tomcat: &[
            "close 1002, its own reason",
            "endpoint: error of the container",
            "endpoint: close 1006, its own reason",
        ],
        ours: &["text \"🦀\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "A Rust `char` is any character; a Java `char` is 16 bits, half of this one.",
    },
    Difference {
        scripts: &["custom type that does not encode"],
        tomcat: &["close 1002, its own reason", "endpoint: close 1006, its own reason"],
        ours: &["text \"6,5\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta §5.2.2 and its TCK: the error handler receives it, and nothing requires the session to end.",
    },
    // ---- the request ----
    Difference {
        scripts: &["path parameter that is not an int"],
        tomcat: &[
            "101",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: error of decoding",
            "endpoint: close 1000, \"so: done\"",
        ],
        ours: &["404"],
        rule: "RFC 9110 §15.5.5: the path names no resource, so the handshake fails. Jakarta §4.3 calls the error \
               handler of an open session.",
    },
    Difference {
        scripts: &["path parameter that is not a boolean"],
        tomcat: &[
            "101",
            "text \"sees 42 false\"",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: close 1000, \"so: done\"",
        ],
        ours: &["404"],
        rule: "As before; and Jakarta §4.3 uses `Boolean.valueOf`, which never fails.",
    },
    Difference {
        scripts: &["path parameter with an escaped slash"],
        tomcat: &["400"],
        ours: &[
            "101",
            "text \"sees a/b\"",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: close 1000, \"so: done\"",
        ],
        rule: "RFC 3986 §2.2: an escaped slash is data and does not separate segments.",
    },
    Difference {
        scripts: &["empty path parameter"],
        tomcat: &[
            "101",
            "text \"sees \"",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: close 1000, \"so: done\"",
        ],
        ours: &["404"],
        rule: "Jakarta §3.1.1: a variable stands for a segment that is not empty.",
    },
    Difference {
        scripts: &["path with a trailing slash"],
        tomcat: &["101", "text \"/a/{y} y=\"", "close 1000, \"so: done\"", "ends TCP"],
        ours: &["404"],
        rule: "Jakarta §3.1.1: a path with a trailing slash is another path, and an empty segment matches no variable. \
               `TrailingSlash::Ignore` treats both as one.",
    },
    Difference {
        scripts: &["path with a variable and a trailing slash"],
        tomcat: &["101", "text \"/{x}/{y} x=b y=\"", "close 1000, \"so: done\"", "ends TCP"],
        ours: &["404"],
        rule: "Jakarta §3.1.1: a path with a trailing slash is another path, and an empty segment matches no variable. \
               `TrailingSlash::Ignore` treats both as one.",
    },
    Difference {
        scripts: &["path with two slashes"],
        tomcat: &["101", "text \"/a\"", "close 1000, \"so: done\"", "ends TCP"],
        ours: &["404"],
        rule: "RFC 3986 §6 keeps both slashes, so this is a path of three segments (Jakarta §3.1.1).",
    },
    // ---- the handshake ----
    Difference {
        scripts: &["no handshake", "no Upgrade", "Upgrade to something else"],
        tomcat: &["404"],
        ours: &["426, Upgrade: websocket"],
        rule: "RFC 9110 §15.5.22: the resource exists, and needs an upgrade.",
    },
    Difference {
        scripts: &["no Connection", "Connection without upgrade"],
        tomcat: &["400"],
        ours: &["426, Upgrade: websocket"],
        rule: "RFC 9110 §15.5.22 and §7.8: `Upgrade` counts only if `Connection` names it.",
    },
    Difference {
        scripts: &["Connection with more"],
        tomcat: &["101, Connection: upgrade, keep-alive"],
        ours: &["101"],
        rule: "RFC 6455 §4.2.2: the value of `Connection` in the response is `Upgrade`.",
    },
    Difference {
        scripts: &["version 12", "version 14", "no version"],
        tomcat: &["426, Sec-WebSocket-Version: 13"],
        ours: &["426, Upgrade: websocket, Sec-WebSocket-Version: 13"],
        rule: "RFC 9110 §15.5.22: the response must list the supported protocols.",
    },
    Difference {
        scripts: &["POST"],
        tomcat: &["404"],
        ours: &["405, Allow: GET"],
        rule: "RFC 6455 §4.1: the method is GET; RFC 9110 §15.5.6 for others.",
    },
    Difference {
        scripts: &["Origin of another site", "Origin null"],
        tomcat: &["101", "close 1000, \"so: done\"", "ends TCP"],
        ours: &["403"],
        rule: "Jakarta §3.1.4: the default checks the origin, and a handshake whose origin cannot be verified fails \
               (RFC 6455 §10.2).",
    },
    // ---- compression ----
    Difference {
        scripts: &["compression, no parameters", "compression, second offer"],
        tomcat: &["101, Sec-WebSocket-Extensions: permessage-deflate"],
        ours: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ],
        rule: "RFC 7692 §7.1.1: a server may disable context takeover for itself and for the client without an offer. \
               Ours does unless `context_takeover` is on.",
    },
    Difference {
        scripts: &["compression, client_max_window_bits"],
        tomcat: &["101, Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15"],
        ours: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ],
        rule: "As before; and RFC 7692 §7.1.2.2: 15 bits is the default.",
    },
    Difference {
        scripts: &["compression, small server window"],
        tomcat: &["101"],
        ours: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; server_no_context_takeover; \
             client_no_context_takeover",
        ],
        rule: "RFC 7692 §7.1.2.1: a server may accept or decline a smaller window.",
    },
    Difference {
        scripts: &["compression, not enabled"],
        tomcat: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ],
        ours: &["101"],
        rule: "RFC 6455 §9.1: a server need not accept an extension. Ours compresses only if the endpoint enables it.",
    },
    Difference {
        scripts: &["invalid compressed data"],
        tomcat: &["close 1002, its own reason", "endpoint: close 1006, its own reason"],
        ours: &["close 1007, its own reason", "endpoint: close 1007, its own reason"],
        rule: "RFC 6455 §7.4.1: 1007 is for invalid data; the frames themselves are valid.",
    },
    // ---- sending ----
    Difference {
        scripts: &["sending while opening and closing"],
        tomcat: &["endpoint: open in on_close"],
        ours: &["endpoint: not open in on_close"],
        rule: "Jakarta, `Endpoint.onClose`: nothing can be sent any more, and `is_open` reports it.",
    },
    // ---- closes ----
    Difference {
        scripts: &["client closes with 1012"],
        tomcat: &["close 1002, \"so: bye\"", "endpoint: close 1002, \"so: bye\""],
        ours: &["close 1012, \"so: bye\"", "endpoint: close 1012, \"so: bye\""],
        rule: "RFC 6455 §7.4.2: the code is in IANA's registry, and §5.5.1: it is echoed.",
    },
    Difference {
        scripts: &["client closes with 1013"],
        tomcat: &["close 1002, \"so: bye\"", "endpoint: close 1002, \"so: bye\""],
        ours: &["close 1013, \"so: bye\"", "endpoint: close 1013, \"so: bye\""],
        rule: "RFC 6455 §7.4.2: the code is in IANA's registry, and §5.5.1: it is echoed.",
    },
    Difference {
        scripts: &["client closes with 1014"],
        tomcat: &["close 1002, \"so: bye\"", "endpoint: close 1002, \"so: bye\""],
        ours: &["close 1014, \"so: bye\"", "endpoint: close 1014, \"so: bye\""],
        rule: "RFC 6455 §7.4.2: the code is in IANA's registry, and §5.5.1: it is echoed.",
    },
    Difference {
        scripts: &["client closes without a reason"],
        tomcat: &["endpoint: close 1000, its own reason"],
        ours: &["endpoint: close 1000, no reason"],
        rule: "RFC 6455 §7.1.6: the reason is then the empty string.",
    },
    Difference {
        scripts: &["client closes without a code"],
        tomcat: &["close 1000, no reason", "endpoint: close 1000, its own reason"],
        ours: &["close without a code", "endpoint: close 1005, no reason"],
        rule: "RFC 6455 §7.1.5: without a code the endpoint sees 1005, and §5.5.1: the response echoes the received \
               frame.",
    },
    Difference {
        scripts: &["client disconnects"],
        tomcat: &["endpoint: error of the container"],
        ours: &[],
        rule: "RFC 6455 §7.1.5: `on_close` receives 1006. A lost connection is not an error as well.",
    },
    Difference {
        scripts: &["endpoint closes without a reason"],
        tomcat: &["endpoint: close 4001, its own reason"],
        ours: &["endpoint: close 4001, no reason"],
        rule: "Jakarta, `Session.close(CloseReason)`: the endpoint receives the given reason.",
    },
    Difference {
        scripts: &["endpoint closes with 1005"],
        tomcat: &["close 1005, no reason", "endpoint: close 1005, its own reason"],
        ours: &["close without a code", "endpoint: close 1005, no reason"],
        rule: "RFC 6455 §7.4.1: this code is never sent. Ours sends an empty close frame.",
    },
    Difference {
        scripts: &["endpoint closes with 1006"],
        tomcat: &["close 1002, no reason", "endpoint: close 1006, its own reason"],
        ours: &["close without a code", "endpoint: close 1006, no reason"],
        rule: "RFC 6455 §7.4.1: this code is never sent. Ours sends an empty close frame.",
    },
    Difference {
        scripts: &["endpoint closes with 1015"],
        tomcat: &["close 1015, no reason", "endpoint: close 1015, its own reason"],
        ours: &["close without a code", "endpoint: close 1015, no reason"],
        rule: "RFC 6455 §7.4.1: this code is never sent. Ours sends an empty close frame.",
    },
    Difference {
        scripts: &["endpoint closes with 999"],
        tomcat: &["text \"refused\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        ours: &["close without a code", "endpoint: close 999, \"so: enough\""],
        rule: "RFC 6455 §7.4.2: this code is not used. Java refuses it in the constructor of the reason, ours sends an \
               empty close frame.",
    },
    Difference {
        scripts: &["endpoint closes with a reason of 124 bytes"],
        tomcat: &["close 4001, of 123 bytes (7aa1033b)", "endpoint: close 4001, of 124 bytes (2a303eb5)"],
        ours: &["text \"refused\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta, `CloseReason`: the constructor refuses a reason of more than 123 bytes.",
    },
    Difference {
        scripts: &["endpoint closes twice and returns a value"],
        tomcat: &["endpoint: close 4001, \"so: first\""],
        ours: &["endpoint: error of the container", "endpoint: close 4001, \"so: first\"", "endpoint: nothing more"],
        rule: "Jakarta, `OnMessage`: a reply that cannot be sent is reported to the error handler; §5.1: no other \
               handler runs until this one has returned.",
    },
    // ---- failures ----
    Difference {
        scripts: &["failure in on_message", "failure in on_error"],
        tomcat: &["close 1002, its own reason", "endpoint: close 1006, its own reason"],
        ours: &["text \"after\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta §5.2.2: the error handler receives it, it is logged if that fails, and nothing requires the \
               session to end.",
    },
    Difference {
        scripts: &["failure in on_message, without an error handler", "panic in on_message"],
        tomcat: &["close 1002, its own reason", "endpoint: close 1006, its own reason"],
        ours: &["close 1011, its own reason", "endpoint: close 1011, its own reason"],
        rule: "RFC 6455 §7.4.1: 1011 is for an unexpected condition; 1002 means that the peer violated the protocol.",
    },
    Difference {
        scripts: &["failure in on_open"],
        tomcat: &["close 1002, \"so: it does not open\"", "endpoint: close 1006, \"so: it does not open\""],
        ours: &["close 1011, its own reason", "endpoint: close 1011, its own reason"],
        rule: "RFC 6455 §7.4.1: 1011 is for an unexpected condition; 1002 means that the peer violated the protocol. \
               The text of an exception is not for the peer.",
    },
    // ---- violations ----
    Difference {
        scripts: &["violation with an error handler", "invalid text with an error handler"],
        tomcat: &[],
        ours: &["endpoint: error of the container"],
        rule: "Jakarta §4.6: errors of a connection are reported to the error handler.",
    },
    Difference {
        scripts: &["close reason that is not UTF-8"],
        tomcat: &["close 1002, its own reason", "endpoint: close 1002, its own reason"],
        ours: &["close 1007, its own reason", "endpoint: close 1007, its own reason"],
        rule: "RFC 6455 §8.1 and §7.4.1: invalid UTF-8 is 1007.",
    },
    Difference {
        scripts: &[
            "close code 0",
            "close code 999",
            "close code 1004",
            "close code 1005",
            "close code 1006",
            "close code 1015",
            "close code 1016",
            "close code 2999",
            "close code 5000",
            "close code 65535",
        ],
        tomcat: &["close 1002, no reason"],
        ours: &["close 1002, its own reason"],
        rule: "RFC 6455 §5.5.1: a reason may explain why.",
    },
];

const FLOATS: &str = "Jakarta §4.7: a value is returned in the standard text form of its language. Rust writes no \
 exponent, and no fraction for a whole number.";
const BOOLEANS: &str = "Jakarta §4.7 uses `Boolean.valueOf`, which never fails. A Rust `bool` is `true` or `false`, \
 and anything else does not decode.";
