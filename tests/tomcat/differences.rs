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
        scripts: &["lengths in more bytes than needed"],
        tomcat: &["text \"a\"", "text \"b\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        ours: &[
            "close 1002, a phrase of its own",
            "endpoint: error of the container",
            "endpoint: close 1002, a phrase of its own",
        ],
        rule: "RFC 6455 §5.2: the minimal number of bytes must be used for a length.",
    },
    Difference {
        scripts: &[
            "6 bytes of text where 5 are allowed",
            "6 bytes of binary where 5 are allowed",
            "6 bytes in fragments where 5 are allowed",
            "compressed message that is too big",
        ],
        tomcat: &[],
        ours: &["endpoint: error of the container"],
        rule: "Jakarta, `OnMessage.maxMessageSize` and `Endpoint.onError`: that a message is too big is told to the \
               error handler.",
    },
    Difference {
        scripts: &["3 characters in 6 bytes where 5 are allowed"],
        tomcat: &["text \"ööö\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        ours: &[
            "close 1009, a phrase of its own",
            "endpoint: error of the container",
            "endpoint: close 1009, a phrase of its own",
        ],
        rule: "Jakarta, `OnMessage.maxMessageSize`: the limit is in bytes, for text, too.",
    },
    Difference {
        scripts: &["10,000 bytes where no limit is written"],
        tomcat: &["close 1009, a phrase of its own", "endpoint: close 1009, a phrase of its own"],
        ours: &["text of 10000 bytes (76bb4805)", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta, `WebSocketContainer`: the default is the container's. Ours is 1 MiB, Tomcat's 8 KiB.",
    },
    // ---- values ----
    Difference {
        scripts: &[
            "byte that is too big",
            "int that is none",
            "int that is empty",
            "int with a fraction",
            "int with a blank",
            "char of none",
        ],
        tomcat: &[
            "close 1002, a phrase of its own",
            "endpoint: error of the container",
            "endpoint: close 1006, a phrase of its own",
        ],
        ours: &[
            "text \"1\"",
            "close 1000, \"so: done\"",
            "endpoint: error of decoding",
            "endpoint: close 1000, \"so: done\"",
        ],
        rule: "Jakarta, `Endpoint.onError` and its TCK: what does not decode is told to the error handler as a \
               `DecodeException`, and the session goes on.",
    },
    Difference {
        scripts: &["int that is none, without an error handler"],
        tomcat: &["close 1002, a phrase of its own", "endpoint: close 1006, a phrase of its own"],
        ours: &["close 1007, a phrase of its own", "endpoint: close 1007, a phrase of its own"],
        rule: "Jakarta leaves open what follows when nobody handles it. RFC 6455 §7.4.1: 1007 is for data that do \
               not fit their type; 1002 is for violations of the protocol, and there was none.",
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
        scripts: &["greatest double"],
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
        scripts: &["boolean that is none"],
        tomcat: &["text \"false\""],
        ours: &["endpoint: error of decoding"],
        rule: BOOLEANS,
    },
    Difference {
        scripts: &["char beyond 16 bits"],
        tomcat: &[
            "close 1002, a phrase of its own",
            "endpoint: error of the container",
            "endpoint: close 1006, a phrase of its own",
        ],
        ours: &["text \"🦀\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "A `char` of Rust is any character; one of Java is half of this one.",
    },
    Difference {
        scripts: &["type of one's own that does not encode"],
        tomcat: &["close 1002, a phrase of its own", "endpoint: close 1006, a phrase of its own"],
        ours: &["text \"6,5\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta §5.2.2 and its TCK: it is given to the error handler, and nothing says that the session ends.",
    },
    // ---- the request ----
    Difference {
        scripts: &["path parameter that is no int"],
        tomcat: &[
            "101",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: error of decoding",
            "endpoint: close 1000, \"so: done\"",
        ],
        ours: &["404"],
        rule: "RFC 9110 §15.5.5: the path names nothing, which a client learns before the handshake is answered. \
               Jakarta §4.3 would tell the error handler of an open session.",
    },
    Difference {
        scripts: &["path parameter that is no boolean"],
        tomcat: &[
            "101",
            "text \"sees 42 false\"",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: close 1000, \"so: done\"",
        ],
        ours: &["404"],
        rule: "As before; and Jakarta §4.3 takes `Boolean.valueOf`, which never fails.",
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
        rule: "RFC 3986 §2.2: an escaped slash is data and parts no segments.",
    },
    Difference {
        scripts: &["path parameter that is empty"],
        tomcat: &[
            "101",
            "text \"sees \"",
            "close 1000, \"so: done\"",
            "ends TCP",
            "endpoint: open",
            "endpoint: close 1000, \"so: done\"",
        ],
        ours: &["404"],
        rule: "Jakarta §3.1.1: a variable stands for a segment, and an empty one is none.",
    },
    Difference {
        scripts: &["path with a slash at its end"],
        tomcat: &["101", "text \"/a/{y} y=\"", "close 1000, \"so: done\"", "ends TCP"],
        ours: &["404"],
        rule: "Jakarta §3.1.1: a path with a slash at its end is another path, and an empty segment fits no \
               variable. `TrailingSlash::Ignore` takes both for one.",
    },
    Difference {
        scripts: &["path with a variable and a slash at its end"],
        tomcat: &["101", "text \"/{x}/{y} x=b y=\"", "close 1000, \"so: done\"", "ends TCP"],
        ours: &["404"],
        rule: "Jakarta §3.1.1: a path with a slash at its end is another path, and an empty segment fits no \
               variable. `TrailingSlash::Ignore` takes both for one.",
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
        rule: "RFC 9110 §15.5.22: the path is known, and an upgrade would do.",
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
        rule: "RFC 6455 §4.2.2: the value of `Connection` in the answer is `Upgrade`.",
    },
    Difference {
        scripts: &["version 12", "version 14", "no version"],
        tomcat: &["426, Sec-WebSocket-Version: 13"],
        ours: &["426, Upgrade: websocket, Sec-WebSocket-Version: 13"],
        rule: "RFC 9110 §15.5.22: the answer must say which protocols would do.",
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
        rule: "RFC 7692 §7.1.1: a server may forget contexts, and ask the client to, without being asked. Ours does \
               unless `context_takeover` is on.",
    },
    Difference {
        scripts: &["compression, client_max_window_bits"],
        tomcat: &["101, Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15"],
        ours: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ],
        rule: "As before; and RFC 7692 §7.1.2.2: 15 bits need not be said.",
    },
    Difference {
        scripts: &["compression, small window of the server"],
        tomcat: &["101"],
        ours: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; server_no_context_takeover; client_no_context_takeover",
        ],
        rule: "RFC 7692 §7.1.2.1: a server may accept or decline a smaller window.",
    },
    Difference {
        scripts: &["compression where it is not switched on"],
        tomcat: &[
            "101, Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ],
        ours: &["101"],
        rule: "RFC 6455 §9.1: a server need not accept an extension. Ours compresses where it is told to.",
    },
    Difference {
        scripts: &["compressed data that are none"],
        tomcat: &["close 1002, a phrase of its own", "endpoint: close 1006, a phrase of its own"],
        ours: &["close 1007, a phrase of its own", "endpoint: close 1007, a phrase of its own"],
        rule: "RFC 6455 §7.4.1: 1007 is for data that are not what they should be; the frames break no rule.",
    },
    // ---- sending ----
    Difference {
        scripts: &["sending while opening and closing"],
        tomcat: &["endpoint: open in on_close"],
        ours: &["endpoint: not open in on_close"],
        rule: "Jakarta, `Endpoint.onClose`: nothing can be sent any more, which `is_open` says.",
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
        scripts: &["client closes without a phrase"],
        tomcat: &["endpoint: close 1000, a phrase of its own"],
        ours: &["endpoint: close 1000, no phrase"],
        rule: "RFC 6455 §7.1.6: then the phrase is the empty string.",
    },
    Difference {
        scripts: &["client closes without a code"],
        tomcat: &["close 1000, no phrase", "endpoint: close 1000, a phrase of its own"],
        ours: &["close without a code", "endpoint: close 1005, no phrase"],
        rule: "RFC 6455 §7.1.5: no code is 1005 to the endpoint, and §5.5.1: the answer echoes what came.",
    },
    Difference {
        scripts: &["client lets go"],
        tomcat: &["endpoint: error of the container"],
        ours: &[],
        rule: "RFC 6455 §7.1.5: this is 1006, which `on_close` is told. A lost connection is no error besides.",
    },
    Difference {
        scripts: &["endpoint closes without a phrase"],
        tomcat: &["endpoint: close 4001, a phrase of its own"],
        ours: &["endpoint: close 4001, no phrase"],
        rule: "Jakarta, `Session.close(CloseReason)`: the endpoint is told the reason that was given.",
    },
    Difference {
        scripts: &["endpoint closes with 1005"],
        tomcat: &["close 1005, no phrase", "endpoint: close 1005, a phrase of its own"],
        ours: &["close without a code", "endpoint: close 1005, no phrase"],
        rule: "RFC 6455 §7.4.1: this code is never on the wire. Ours makes an empty close frame of it.",
    },
    Difference {
        scripts: &["endpoint closes with 1006"],
        tomcat: &["close 1002, no phrase", "endpoint: close 1006, a phrase of its own"],
        ours: &["close without a code", "endpoint: close 1006, no phrase"],
        rule: "RFC 6455 §7.4.1: this code is never on the wire. Ours makes an empty close frame of it.",
    },
    Difference {
        scripts: &["endpoint closes with 1015"],
        tomcat: &["close 1015, no phrase", "endpoint: close 1015, a phrase of its own"],
        ours: &["close without a code", "endpoint: close 1015, no phrase"],
        rule: "RFC 6455 §7.4.1: this code is never on the wire. Ours makes an empty close frame of it.",
    },
    Difference {
        scripts: &["endpoint closes with 999"],
        tomcat: &["text \"refused\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        ours: &["close without a code", "endpoint: close 999, \"so: enough\""],
        rule: "RFC 6455 §7.4.2: this code is not used on the wire. Java refuses it where the reason is made, ours \
               makes an empty close frame of it.",
    },
    Difference {
        scripts: &["endpoint closes with a phrase of 124 bytes"],
        tomcat: &["close 4001, of 123 bytes (7aa1033b)", "endpoint: close 4001, of 124 bytes (2a303eb5)"],
        ours: &["text \"refused\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta, `CloseReason`: a phrase of more than 123 bytes is refused where the reason is made.",
    },
    Difference {
        scripts: &["endpoint closes twice and returns a value"],
        tomcat: &["endpoint: close 4001, \"so: first\""],
        ours: &["endpoint: error of the container", "endpoint: close 4001, \"so: first\"", "endpoint: nothing more"],
        rule: "Jakarta, `OnMessage`: that the value cannot be sent is told to the error handler; and §5.1: no other \
               handler runs until this one has returned.",
    },
    // ---- failures ----
    Difference {
        scripts: &["failure in on_message", "failure in on_error"],
        tomcat: &["close 1002, a phrase of its own", "endpoint: close 1006, a phrase of its own"],
        ours: &["text \"after\"", "close 1000, \"so: done\"", "endpoint: close 1000, \"so: done\""],
        rule: "Jakarta §5.2.2: it is given to the error handler, or logged if that fails, and nothing says that the \
               session ends.",
    },
    Difference {
        scripts: &["failure in on_message, without an error handler", "panic in on_message"],
        tomcat: &["close 1002, a phrase of its own", "endpoint: close 1006, a phrase of its own"],
        ours: &["close 1011, a phrase of its own", "endpoint: close 1011, a phrase of its own"],
        rule: "RFC 6455 §7.4.1: 1011 is for an unexpected condition; 1002 would say that the peer broke the protocol.",
    },
    Difference {
        scripts: &["failure in on_open"],
        tomcat: &["close 1002, \"so: it does not open\"", "endpoint: close 1006, \"so: it does not open\""],
        ours: &["close 1011, a phrase of its own", "endpoint: close 1011, a phrase of its own"],
        rule: "RFC 6455 §7.4.1: 1011 is for an unexpected condition; 1002 would say that the peer broke the \
               protocol. What an exception says is not for the peer.",
    },
    // ---- violations ----
    Difference {
        scripts: &["violation, told to the error handler", "text that is bad, told to the error handler"],
        tomcat: &[],
        ours: &["endpoint: error of the container"],
        rule: "Jakarta §4.6: errors of a connection are told to the error handler.",
    },
    Difference {
        scripts: &["close phrase that is no UTF-8"],
        tomcat: &["close 1002, a phrase of its own", "endpoint: close 1002, a phrase of its own"],
        ours: &["close 1007, a phrase of its own", "endpoint: close 1007, a phrase of its own"],
        rule: "RFC 6455 §8.1 and §7.4.1: what is no UTF-8 is 1007.",
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
        tomcat: &["close 1002, no phrase"],
        ours: &["close 1002, a phrase of its own"],
        rule: "RFC 6455 §5.5.1: a phrase may say why.",
    },
];

const FLOATS: &str = "Jakarta §4.7: a value is returned in the standard text form of its language. That of Rust has no \
                      exponent, and no fraction where there is none.";
const BOOLEANS: &str = "Jakarta §4.7 takes `Boolean.valueOf`, which never fails. `bool` in Rust is `true` or `false`, \
                        and anything else does not decode.";
