"""Python's `websockets` against an echo endpoint: one line for each check.

    python tests/foreign/websockets_client.py ws://127.0.0.1:PORT/PATH [--binary] [--compression forgets|keeps]

--binary adds the checks for endpoints that echo binary messages too, --compression those for endpoints that compress,
each message by itself or with regard to those before it.
"""
import argparse
import asyncio
import random
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

DEADLINE = 20
MIB = 1 << 20


async def main():
    parser = argparse.ArgumentParser(description="Python websockets against an echo endpoint")
    parser.add_argument("url")
    parser.add_argument("--binary", action="store_true", help="the endpoint echoes binary messages too")
    parser.add_argument("--compression", choices=["forgets", "keeps"], help="the endpoint compresses")
    options = parser.parse_args()

    checks = [
        ("text", echo("hello")),
        ("text that is not ASCII", echo("你好，世界 👋 ¿qué?")),
        ("empty text", echo("")),
        ("1 MiB of text", echo("x" * MIB)),
        ("1 MiB of text that is not ASCII", echo("长" * (MIB // 3))),
        ("text in fragments, cut inside a word", echo_of_parts(["frag", "men", "", "ted 分", "片"])),
        ("200 messages sent before any is read come back in order", pipelined),
        ("a ping is answered with its payload", ping(b"are you there?")),
        ("an empty ping is answered", ping(b"")),
        ("a ping between two fragments is answered", ping_between_fragments),
        ("close 4001 with a reason is answered with the same code", close(4001, "下班了")),
        ("close 1000 is answered", close(1000, "")),
    ]
    if options.binary:
        checks += [
            ("binary", echo(bytes(range(256)))),
            ("empty binary", echo(b"")),
            ("1 MiB of binary", echo(bytes(range(256)) * (MIB // 256))),
            ("binary in fragments", echo_of_parts([b"\x00\xff", b"", b"\xfe"])),
        ]
    if options.compression:
        checks += [
            (f"compression is agreed on, and {options.compression} its contexts", agreed(options.compression == "keeps")),
            ("messages that resemble each other", resembling),
        ]

    failed = 0
    for name, check in checks:
        try:
            async with asyncio.timeout(DEADLINE):
                async with connect(options.url, max_size=None, proxy=None, ping_interval=None) as connection:
                    await check(connection)
            print(f"ok    websockets: {name}")
        except Exception as trouble:
            failed += 1
            print(f"FAIL  websockets: {name}: {type(trouble).__name__}: {trouble}")
    return 1 if failed else 0


def echo(message):
    async def check(connection):
        await connection.send(message)
        expect(await connection.recv(), message)

    return check


def echo_of_parts(parts):
    async def check(connection):
        await connection.send(parts)
        expect(await connection.recv(), type(parts[0])().join(parts))

    return check


async def pipelined(connection):
    messages = [f"message {i} {'.' * i}" for i in range(200)]
    for message in messages:
        await connection.send(message)
    for message in messages:
        expect(await connection.recv(), message)


def agreed(keeps):
    async def check(connection):
        [extension] = connection.protocol.extensions
        expect(extension.name, "permessage-deflate")
        expect((extension.remote_no_context_takeover, extension.local_no_context_takeover), (not keeps, not keeps))

    return check


async def resembling(connection):
    sizes = [0, 1, 100, 511, 512, 513, 5_000, 40_000, 300_000]
    words = [random.Random(seed).choice(["to be ", "or not ", "to be; "]) for seed in range(60_000)]
    for turn in range(3):
        messages = ["".join(words)[: size + turn] for size in sizes]
        # what does not compress is between them
        messages.insert(4, "".join(random.Random(turn).choices("0123456789abcdefghijklmnopqrstuvwxyz长片分", k=2_000)))
        for message in messages:
            await connection.send(message)
        for message in messages:
            expect(await connection.recv(), message)


def ping(payload):
    async def check(connection):
        # resolves with the pong that carries this payload
        await (await connection.ping(payload))

    return check


async def ping_between_fragments(connection):
    async def parts():
        yield "before "
        await (await connection.ping(b"in between"))
        yield "after"

    await connection.send(parts())
    expect(await connection.recv(), "before after")


def close(code, reason):
    async def check(connection):
        await connection.close(code, reason)
        received = connection.protocol.close_rcvd
        if received is None:
            raise AssertionError("the connection ended without a close frame")
        expect(received.code, code)
        try:
            await connection.recv()
        except ConnectionClosed:
            return
        raise AssertionError("a message arrived after the close")

    return check


def expect(received, wanted):
    if received != wanted:
        raise AssertionError(f"expected {short(wanted)}, got {short(received)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({type(value).__name__} of {len(value)})"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
