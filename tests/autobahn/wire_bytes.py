"""Stands between the two meanings of a string; goes into the rewritten suite as `_wire_bytes.py`.

    VENV/bin/python -m autobahntestsuite._wire_bytes -m fuzzingclient -s SPEC.json     (or fuzzingserver)

Inside the suite a byte string stays a `str` with one character per byte (latin-1), as its cases spell them. The
protocol engine below wants `bytes`. So the calls that cross from one to the other are wrapped here. The cases on
compression (12 and 13) hash and decode what arrives, and are given the bytes themselves.
"""
import binascii

SHOWN = 64


def to_bytes(data):
    return data.encode("latin-1") if isinstance(data, str) else data


def to_str(data):
    return data if isinstance(data, str) else bytes(data).decode("latin-1")


def to_hex(data):
    return binascii.hexlify(to_bytes(data)).decode("ascii")


def to_json(value):
    """What json.dumps cannot write by itself."""
    return to_str(value) if isinstance(value, (bytes, bytearray)) else str(value)


class Validator:
    """The engine's UTF-8 validator, fed by cases that hold bytes as characters."""

    def __init__(self):
        from autobahn.websocket.utf8validator import Utf8Validator

        self._engine = Utf8Validator()

    def reset(self):
        self._engine.reset()

    def validate(self, data):
        return self._engine.validate(to_bytes(data))


def bridge_protocol(fuzzer, engine, hears):
    """Wraps what a fuzzer sends to the engine and what it hears from it."""

    def send_frame(self, opcode, payload=b"", *rest, **named):
        return engine.sendFrame(self, opcode, to_bytes(payload), *rest, **named)

    def send_message(self, payload, *rest, **named):
        return engine.sendMessage(self, to_bytes(payload), *rest, **named)

    def send_frame_data(self, payload, *rest, **named):
        return engine.sendMessageFrameData(self, to_bytes(payload), *rest, **named)

    def send_close_frame(self, code=None, reasonUtf8=None, isReply=False):
        return engine.sendCloseFrame(self, code, to_bytes(reasonUtf8), isReply)

    def on_message(self, payload, isBinary):
        compressed = self.Case.__name__.startswith(("Case12_", "Case13_"))
        hears.onMessage(self, payload if compressed else to_str(payload), isBinary)

    def on_pong(self, payload):
        hears.onPong(self, to_str(payload))

    fuzzer.sendFrame = send_frame
    fuzzer.sendMessage = send_message
    fuzzer.sendMessageFrameData = send_frame_data
    fuzzer.sendCloseFrame = send_close_frame
    fuzzer.onMessage = on_message
    fuzzer.onPong = on_pong


def bridge_report(fuzzing):
    """The wire log of the reports: as text where it is text, as hex where it is not."""

    def is_long(data):
        return len(data) > SHOWN - len(" ...")

    def log_hex(data, maxlen=SHOWN):
        data = to_bytes(data)
        return to_hex(data[:maxlen]) + " ..." if is_long(data) else to_hex(data)

    def log_text(data, maxlen=SHOWN, replace=False):
        data = to_bytes(data)
        shown = data[:maxlen] + b" ..." if is_long(data) else data
        try:
            return shown.decode("utf-8", "replace" if replace else "strict")
        except UnicodeDecodeError:
            return "0x" + log_hex(data, maxlen)

    fuzzing.binLogData = log_hex
    fuzzing.asciiLogData = log_text


def bridge_comparison(case):
    """The suite compares pickles. In Python 3 those of equal values differ where one shares an object."""
    case.Case.compare = lambda self, one, other: one == other


def main():
    from autobahntestsuite import fuzzing, wstest
    from autobahntestsuite.case import case

    bridge_protocol(fuzzing.FuzzingClientProtocol, fuzzing.WebSocketClientProtocol, fuzzing.FuzzingProtocol)
    bridge_protocol(fuzzing.FuzzingServerProtocol, fuzzing.WebSocketServerProtocol, fuzzing.FuzzingProtocol)
    bridge_report(fuzzing)
    bridge_comparison(case)
    wstest.run()


if __name__ == "__main__":
    main()
