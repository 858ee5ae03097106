#!/usr/bin/env python3
"""Resident memory of the server per silent session, over HTTP/1.1 and over HTTP/2.

  cargo build --release --features http2 --example bench_server
  cargo build -p tests --example http2_bridge
  python3 benches/http2_memory.py target/release/examples/bench_server target/debug/examples/http2_bridge [SESSIONS]

The bridge opens 50 streams on each connection of HTTP/2. The difference of two loads is divided, so that what a server
allocates once does not count. Memory of the kernel is not included.
"""

import base64
import os
import resource
import socket
import subprocess
import sys
import time


def start(program, *arguments):
    """A program, and the address that it prints."""
    process = subprocess.Popen([program, "--addr", "127.0.0.1:0", *arguments], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline().strip()
    host, port = line.removeprefix("endpoint: ws://").removesuffix("/ws").split(":")
    return process, (host, int(port))


def open_session(address):
    connection = socket.create_connection(address)
    key = base64.b64encode(os.urandom(16)).decode()
    host = f"{address[0]}:{address[1]}"
    connection.sendall((f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


def echo(connection):
    """An echo of `hello`, without a mask that changes anything."""
    connection.sendall(b"\x81\x85\0\0\0\0hello")
    answer = b""
    while len(answer) < 7:
        answer += connection.recv(7 - len(answer))
    assert answer == b"\x81\x05hello", answer


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def measure(server, address, count):
    """KiB for each of `count` sessions, silent and after an echo on each, behind as many that came before."""
    sessions = [open_session(address) for _ in range(count)]
    for session in sessions:
        echo(session)
    before = resident(server.pid)
    more = [open_session(address) for _ in range(count)]
    time.sleep(1)
    silent = (resident(server.pid) - before) / count
    for session in more:
        echo(session)
    time.sleep(1)
    echoed = (resident(server.pid) - before) / count
    for session in sessions + more:
        session.close()
    return silent, echoed


def main():
    server_program, bridge_program = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name in ["HTTP/1.1", "HTTP/2"]:
        processes = []
        try:
            server, address = start(server_program, "--threads", "1")
            processes.append(server)
            if name == "HTTP/2":
                bridge, address = start(bridge_program, "--to", f"{address[0]}:{address[1]}")
                processes.append(bridge)
            silent, echoed = measure(server, address, count)
            print(f"{name}: {silent:.1f} KiB per silent session, {echoed:.1f} KiB after an echo", flush=True)
        finally:
            for process in processes:
                process.kill()
                process.wait()


main()
