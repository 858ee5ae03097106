"""Python's `websockets` as an echo server for a client of ours. Prints its port, ends when its input does.

    python tests/foreign/websockets_server.py [--keeps]

It compresses, each message by itself or, with --keeps, with regard to those before it. The text "close" is answered by
a close with 4001, "ping" by a ping whose pong is told as text.
"""
import asyncio
import contextlib
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

MIB = 1 << 20


async def echo(connection):
    # a close with another code than 1000 is no failure here
    with contextlib.suppress(ConnectionClosed):
        await answer(connection)


async def answer(connection):
    async for message in connection:
        if message == "close":
            await connection.close(4001, "下班了")
        elif message == "ping":
            await (await connection.ping(b"are you there?"))
            await connection.send("pong")
        elif message == "parts":
            await connection.send(["frag", "ment", "", "ed 分片"])
        else:
            await connection.send(message)


async def main():
    forgets = "--keeps" not in sys.argv
    deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=forgets, client_no_context_takeover=forgets)
    options = {"extensions": [deflate], "compression": None, "subprotocols": ["chat.v2"], "max_size": 16 * MIB}
    async with serve(echo, "127.0.0.1", 0, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
