//! What the client says, script by script.

use crate::script::{Script, script};
use crate::support::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame};

/// All scripts, by what they ask about.
pub fn all() -> [(&'static str, Vec<Script>); 11] {
    [
        ("Messages", messages()),
        ("Messages in parts", parts()),
        ("Values", values()),
        ("The request", request()),
        ("The handshake", handshake()),
        ("Pings and pongs", pings()),
        ("Compression", compression()),
        ("Sending", sending()),
        ("Closing", closes()),
        ("Failures of handlers", failures()),
        ("Violations of the protocol", violations()),
    ]
}

fn messages() -> Vec<Script> {
    let mut text = script("text of many sizes", "/echo/{script}");
    let mut binary = script("binary of many sizes", "/echo/{script}");
    for size in [0, 1, 125, 126, 65_535, 65_536] {
        text = text.text(&"x".repeat(size));
        binary = binary.binary((0..size).map(|i| i as u8).collect::<Vec<_>>());
    }
    vec![
        text,
        binary,
        script("non-ASCII text", "/echo/{script}").text("k\u{f6}nnen \u{8a00}\u{8449} \u{1f980}\u{0}"),
        script("fragments with pings between them", "/echo/{script}")
            .frame(TEXT, "one ")
            .frame(0x80 | PING, "between")
            .frame(CONTINUATION, "two ")
            .frame(0x80 | PING, "")
            .frame(0x80 | CONTINUATION, "three"),
        script("empty fragments", "/echo/{script}")
            .frame(BINARY, "")
            .frame(CONTINUATION, "x")
            .frame(0x80 | CONTINUATION, ""),
        script("character split by a fragment", "/echo/{script}")
            .frame(TEXT, [0xe8, 0xa8])
            .frame(0x80 | CONTINUATION, [0x80]),
        script("lengths that are not minimal", "/echo/{script}")
            .raw([0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'a'])
            .raw([0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'b']),
        script("binary reply to text, text reply to binary", "/other/{script}").text("to binary").binary("to text"),
        script("null reply", "/other/{script}").text("nothing").binary("1").text("something"),
        script("empty reply", "/other/{script}").text("").binary(""),
        script("binary message to a text endpoint", "/text/{script}").binary("what").text("text"),
        script("5 bytes with a limit of 5", "/five/{script}").text("12345").binary("12345").text("").binary(""),
        script("6 bytes of text with a limit of 5", "/five/{script}").text("123456"),
        script("6 bytes of binary with a limit of 5", "/five/{script}").binary("123456"),
        script("6 bytes in fragments with a limit of 5", "/five/{script}")
            .frame(TEXT, "123")
            .frame(0x80 | CONTINUATION, "456"),
        script("3 characters in 6 bytes with a limit of 5", "/five/{script}").text("\u{f6}\u{f6}\u{f6}"),
        script("10,000 bytes without a limit in the annotation", "/text/{script}").text(&"x".repeat(10_000)),
    ]
}

fn parts() -> Vec<Script> {
    vec![
        script("text in parts, a reply for each", "/parts/{script}").frame(TEXT, "A").frame(0x80 | CONTINUATION, "B"),
        script("binary in parts, a reply for each", "/parts/{script}")
            .frame(BINARY, "A")
            .frame(CONTINUATION, "B")
            .frame(0x80 | CONTINUATION, "C"),
        script("whole message to a handler of parts", "/parts/{script}").text("A").binary("B"),
        script("parts with pings between them", "/parts/{script}")
            .frame(TEXT, "A")
            .frame(0x80 | PING, "between")
            .frame(0x80 | CONTINUATION, "B"),
        script("empty last part", "/parts/{script}")
            .frame(TEXT, "A")
            .frame(0x80 | CONTINUATION, "")
            .frame(BINARY, "B")
            .frame(0x80 | CONTINUATION, ""),
        script("empty message to a handler of parts", "/parts/{script}").text("").binary(""),
        script("character split by a part", "/parts/{script}")
            .frame(TEXT, [b'A', 0xc3])
            .frame(0x80 | CONTINUATION, [0xb6, b'B']),
    ]
}

fn values() -> Vec<Script> {
    vec![
        script("byte", "/byte/{script}").text("123").text("-128").text("127"),
        script("byte out of range", "/byte/{script}").text("128").text("1"),
        script("short", "/short/{script}").text("32767").text("-32768"),
        script("int", "/int/{script}").text("32767").text("-2147483648").text("+7"),
        script("invalid int", "/int/{script}").text("x").text("1"),
        script("empty int", "/int/{script}").text("").text("1"),
        script("int with a fraction", "/int/{script}").text("1.5").text("1"),
        script("int with a space", "/int/{script}").text(" 1").text("1"),
        script("invalid int, without an error handler", "/intalone/{script}").text("x"),
        script("long", "/long/{script}").text("9223372036854775807").text("-32768"),
        script("float", "/float/{script}").text("123.456").text("-0.5"),
        script("float without a fraction", "/float/{script}").text("123"),
        script("smallest float", "/float/{script}").text("1.4E-45"),
        script("float that is not a number", "/float/{script}").text("NaN"),
        script("infinite float", "/float/{script}").text("Infinity"),
        script("double", "/double/{script}").text("789.012").text("-1.25"),
        script("largest double", "/double/{script}").text("1.7976931348623157E308"),
        script("boolean", "/boolean/{script}").text("true").text("false"),
        script("boolean in capitals", "/boolean/{script}").text("TRUE"),
        script("invalid boolean", "/boolean/{script}").text("yes"),
        script("char", "/char/{script}").text("1").text("&").text("\u{8a00}"),
        script("char from several characters", "/char/{script}").text("ab"),
        script("char from an empty message", "/char/{script}").text("").text("1"),
        script("char beyond 16 bits", "/char/{script}").text("\u{1f980}"),
        script("custom type", "/points/{script}").text("1,2").text("-3,4"),
        script("custom type that does not decode", "/points/{script}").text("1").text("1,x").text("5,6"),
        script("custom type that does not encode", "/points/{script}").text("1,13").text("5,6"),
        script("custom type, sent as an object", "/points/{script}").binary(""),
    ]
}

fn request() -> Vec<Script> {
    vec![
        script("path parameters", "/params/{script}/42/true").text("sees"),
        script("path parameter that is not an int", "/params/{script}/x/true").text("sees"),
        script("path parameter that is not a boolean", "/params/{script}/42/yes").text("sees"),
        script("path parameter with escapes", "/word/{script}/a%20b+%E8%A8%80").text("sees"),
        script("path parameter with an escaped slash", "/word/{script}/a%2Fb").text("sees"),
        script("empty path parameter", "/word/{script}/").text("sees"),
        script("URI", "/request/{script}").text("uri").text("query").text("a"),
        script("URI with a query", "/request/{script}?a=1&b=2").text("uri").text("query"),
        script("query parameters", "/request/{script}?a=1&b=x%20y&a=2&c&d=").text("a").text("b").text("d").text("e"),
        script("query parameter with a plus", "/request/{script}?a=1+2").text("query").text("a"),
        script("query parameter without a value", "/request/{script}?a").text("a"),
        script("names of path parameters", "/request/{script}?a=1").text("path"),
        script("protocol version", "/request/{script}").text("version").text("secure"),
        script("match of a literal", "/match/a").text(""),
        script("match of a variable", "/match/b").text(""),
        script("match of two literals", "/match/a/c").text(""),
        script("match of literal and variable", "/match/a/x").text(""),
        script("match of variable and literal", "/match/x/c").text(""),
        script("match of two variables", "/match/x/y").text(""),
        script("match of an escaped literal", "/match/%61").text(""),
        script("match with a letter in another case", "/match/A").text(""),
        script("path with a trailing slash", "/match/a/").text(""),
        script("path with a variable and a trailing slash", "/match/b/").text(""),
        script("path with two slashes", "/match//a").text(""),
        script("path with a dot", "/match/./a").text(""),
        script("path with two dots", "/match/x/../a").text(""),
        script("path with too many segments", "/match/a/c/d"),
        script("path with too few segments", "/match"),
    ]
}

fn handshake() -> Vec<Script> {
    vec![
        script("unknown path", "/elsewhere"),
        script("unknown path, ordinary request", "/elsewhere").without("Upgrade").without("Connection"),
        script("no handshake", "/match/a").without("Upgrade").without("Connection"),
        script("no Upgrade", "/match/a").without("Upgrade"),
        script("Upgrade to something else", "/match/a").header("Upgrade", "h2c"),
        script("Upgrade to several", "/match/a").header("Upgrade", "h2c, websocket"),
        script("Upgrade in capitals", "/match/a").header("Upgrade", "WEBSOCKET"),
        script("no Connection", "/match/a").without("Connection"),
        script("Connection without upgrade", "/match/a").header("Connection", "keep-alive"),
        script("Connection with more", "/match/a").header("Connection", "keep-alive, Upgrade"),
        script("version 12", "/match/a").header("Sec-WebSocket-Version", "12"),
        script("version 14", "/match/a").header("Sec-WebSocket-Version", "14"),
        script("no version", "/match/a").without("Sec-WebSocket-Version"),
        script("no key", "/match/a").without("Sec-WebSocket-Key"),
        script("short key", "/match/a").header("Sec-WebSocket-Key", "AAAA"),
        script("key that is not base64", "/match/a").header("Sec-WebSocket-Key", "!HhlIHNhbXBsZSBub25jZQ=="),
        script("POST", "/match/a").method("POST").header("Content-Length", "0"),
        script("Origin of another site", "/match/a").header("Origin", "http://elsewhere.example"),
        script("Origin of the same site", "/match/a")
            .header("Host", "here.example")
            .header("Origin", "http://here.example"),
        script("Origin null", "/match/a").header("Origin", "null"),
        script("subprotocol in the client's order", "/request/{script}")
            .header("Sec-WebSocket-Protocol", "soap, chat.v1, chat.v2")
            .text("subprotocol"),
        script("no subprotocol in common", "/request/{script}")
            .header("Sec-WebSocket-Protocol", "soap")
            .text("subprotocol"),
        script("no subprotocol", "/request/{script}").text("subprotocol"),
        script("subprotocol in another case", "/request/{script}")
            .header("Sec-WebSocket-Protocol", "CHAT.V1")
            .text("subprotocol"),
        script("subprotocol, endpoint without any", "/echo/{script}").header("Sec-WebSocket-Protocol", "chat.v1"),
        script("unknown extension", "/echo/{script}").header("Sec-WebSocket-Extensions", "x-unknown; a=1"),
        script("message in the segment of the request", "/echo/{script}").early(0x80 | TEXT, "early"),
    ]
}

fn pings() -> Vec<Script> {
    vec![
        script("ping", "/echo/{script}").frame(0x80 | PING, "").frame(0x80 | PING, "data").frame(0x80 | PING, [7; 125]),
        script("unsolicited pong", "/pongs/{script}").frame(0x80 | PONG, "unasked").frame(0x80 | PONG, ""),
        script("unsolicited pong to an endpoint without a handler", "/echo/{script}")
            .frame(0x80 | PONG, "unasked")
            .text("on"),
        script("pong between fragments", "/pongs/{script}")
            .frame(TEXT, "ping ")
            .frame(0x80 | PONG, "between")
            .frame(0x80 | CONTINUATION, "x"),
        script("ping from the endpoint", "/pongs/{script}").text("ping 1").frame(0x80 | PONG, "1"),
        script("pong from the endpoint", "/pongs/{script}").text("pong 1"),
        script("ping of 125 bytes from the endpoint", "/pongs/{script}").text(&format!("ping {}", "x".repeat(125))),
        script("ping of 126 bytes from the endpoint", "/pongs/{script}").text(&format!("ping {}", "x".repeat(126))),
        script("pong of 126 bytes from the endpoint", "/pongs/{script}").text(&format!("pong {}", "x".repeat(126))),
    ]
}

fn compression() -> Vec<Script> {
    const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let offered = |name, offer| script(name, "/compressed/{script}").header("Sec-WebSocket-Extensions", offer);
    let repeated = "over and over ".repeat(500);
    vec![
        offered("compression, no context takeover", OFFER)
            .compressed("compressed")
            .text("plain")
            .compressed("")
            .compressed(&repeated)
            .text(&repeated),
        offered("compression, no parameters", "permessage-deflate").compressed(&repeated).compressed(&repeated),
        script("compression, context takeover", "/keeping/{script}")
            .header("Sec-WebSocket-Extensions", "permessage-deflate")
            .compressed(&repeated)
            .text(&repeated)
            .compressed(&repeated),
        offered("compression, client_max_window_bits", "permessage-deflate; client_max_window_bits")
            .compressed(&repeated),
        offered("compression, small server window", "permessage-deflate; server_max_window_bits=10").text(&repeated),
        offered("compression, unknown parameter", "permessage-deflate; x=1").text("plain"),
        offered("compression, second offer", "permessage-deflate; x=1, permessage-deflate").text("plain"),
        script("compression, not enabled", "/echo/{script}").header("Sec-WebSocket-Extensions", OFFER).text("plain"),
        offered("invalid compressed data", OFFER).frame(0xc0 | TEXT, [0xff, 0xff, 0xff]),
        offered("compressed message above the limit", OFFER).compressed(&"x".repeat(200_000)),
    ]
}

fn sending() -> Vec<Script> {
    vec![
        script("basic remote, then a reply", "/sends/{script}").text("basic"),
        script("async remote, then a reply", "/sends/{script}").text("async"),
        script("objects that are values", "/sends/{script}").text("objects"),
        script("objects that are floats", "/sends/{script}").text("floats"),
        script("batch that is flushed", "/sends/{script}").text("batch"),
        script("batch that is closed", "/sends/{script}").text("batch and close"),
        script("sending while opening and closing", "/welcome/{script}").text("then"),
        script("open sessions", "/all/{script}")
            .client(2)
            .client(3)
            .binary("")
            .client(1)
            .text("to all")
            .client(2)
            .text("again"),
        script("properties of a session", "/properties/{script}").text("one").text("two").client(2).text("three"),
    ]
}

fn closes() -> Vec<Script> {
    let by_client = |name, code| script(name, "/echo/{script}").close(code, "so: bye");
    let by_endpoint = |name, message| script(name, "/close/{script}").text(message);
    vec![
        by_client("client closes with 1000", 1000),
        by_client("client closes with 1001", 1001),
        by_client("client closes with 1003", 1003),
        by_client("client closes with 1007", 1007),
        by_client("client closes with 1011", 1011),
        by_client("client closes with 1012", 1012),
        by_client("client closes with 1013", 1013),
        by_client("client closes with 1014", 1014),
        by_client("client closes with 3000", 3000),
        by_client("client closes with 4999", 4999),
        script("client closes without a reason", "/echo/{script}").close(1000, ""),
        script("client closes without a code", "/echo/{script}").frame(0x80 | CLOSE, ""),
        script("client closes with the longest reason", "/echo/{script}")
            .close(1000, &format!("so: {}", "x".repeat(119))),
        script("client closes inside a message", "/echo/{script}").frame(TEXT, "never ended").close(1000, "so: bye"),
        script("client sends after its close frame", "/echo/{script}").raw(
            [&frame(0x80 | CLOSE, b"\x03\xe8so: bye")[..], &frame(0x80 | TEXT, b"more"), &frame(0x80 | PING, b"more")]
                .concat(),
        ),
        script("client disconnects", "/echo/{script}").drops(),
        by_endpoint("endpoint closes", "plain"),
        by_endpoint("endpoint closes with 1000", "1000 so: enough"),
        by_endpoint("endpoint closes with 1001", "1001 so: enough"),
        by_endpoint("endpoint closes with 1011", "1011 so: enough"),
        by_endpoint("endpoint closes with 4001", "4001 so: enough"),
        by_endpoint("endpoint closes without a reason", "4001"),
        by_endpoint("endpoint closes with 1005", "1005"),
        by_endpoint("endpoint closes with 1006", "1006"),
        by_endpoint("endpoint closes with 1015", "1015"),
        by_endpoint("endpoint closes with 999", "999 so: enough"),
        script("endpoint closes with a reason of 123 bytes", "/close/{script}")
            .text(&format!("4001 so: {}", "x".repeat(119))),
        script("endpoint closes with a reason of 124 bytes", "/close/{script}")
            .text(&format!("4001 so: {}", "x".repeat(120))),
        script("endpoint closes twice and returns a value", "/returns/{script}").text("too late").late_notes(1),
        script("idle timeout", "/idle/{script}").ends(),
    ]
}

fn failures() -> Vec<Script> {
    vec![
        script("failure in on_message", "/fails/{script}").text("before").text("fail").text("after"),
        script("failure in on_message, without an error handler", "/failsalone/{script}")
            .text("before")
            .text("fail")
            .text("after"),
        script("panic in on_message", "/panics/{script}").text("").text(""),
        script("failure in on_open", "/failsopen/{script}").text("never"),
        script("failure in on_close", "/failsclose/{script}").late_notes(1),
        script("failure in on_error", "/failserror/{script}").text("fail").text("after"),
    ]
}

fn violations() -> Vec<Script> {
    let raw = |name, bytes: &[u8]| script(name, "/bare/{script}").raw(bytes);
    let text = |name, bytes: &[u8]| script(name, "/bare/{script}").frame(0x80 | TEXT, bytes);
    let close = |name, payload: &[u8]| script(name, "/bare/{script}").frame(0x80 | CLOSE, payload);
    let mut all = vec![
        script("violation with an error handler", "/echo/{script}").raw(frame(0x83, b"x")),
        script("invalid text with an error handler", "/echo/{script}").frame(0x80 | TEXT, b"\xff"),
        raw("reserved bit 1", &frame(0xc0 | TEXT, b"x")),
        raw("reserved bit 2", &frame(0xa0 | TEXT, b"x")),
        raw("reserved bit 3", &frame(0x90 | TEXT, b"x")),
        raw("reserved bit of a ping", &frame(0xc0 | PING, b"x")),
        raw("opcode 3", &frame(0x83, b"x")),
        raw("opcode 7", &frame(0x87, b"x")),
        raw("opcode 11", &frame(0x8b, b"x")),
        raw("opcode 15", &frame(0x8f, b"x")),
        raw("ping of 126 bytes", &frame(0x80 | PING, &[b'x'; 126])),
        raw("close frame of 126 bytes", &frame(0x80 | CLOSE, &[&b"\x03\xe8"[..], &[b'x'; 124]].concat())),
        raw("ping in fragments", &frame(PING, b"x")),
        raw("no mask", b"\x81\x01x"),
        raw("length beyond 63 bits", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        raw("continuation without a message", &frame(0x80 | CONTINUATION, b"x")),
        script("text inside a message", "/bare/{script}").frame(TEXT, "x").frame(0x80 | TEXT, "y"),
        script("binary inside text", "/bare/{script}").frame(TEXT, "x").frame(0x80 | BINARY, "y"),
        script("message before a violation", "/bare/{script}").text("before").frame(0x83, ""),
        text("text with a stray byte", b"caf\xe9!"),
        text("text with a surrogate", b"\xed\xa0\x80"),
        text("text with an overlong form", b"\xc0\xaf"),
        text("text above the Unicode range", b"\xf4\x90\x80\x80"),
        text("text that ends inside a character", b"\xe8\xa8"),
        script("invalid text in the first fragment", "/bare/{script}").frame(TEXT, b"\xff"),
        close("close frame of one byte", b"\x03"),
        close("close reason that is not UTF-8", b"\x03\xe8\xff"),
    ];
    for (name, code) in [
        ("close code 0", 0_u16),
        ("close code 999", 999),
        ("close code 1004", 1004),
        ("close code 1005", 1005),
        ("close code 1006", 1006),
        ("close code 1015", 1015),
        ("close code 1016", 1016),
        ("close code 2999", 2999),
        ("close code 5000", 5000),
        ("close code 65535", 65_535),
    ] {
        all.push(close(name, &code.to_be_bytes()));
    }
    all
}
