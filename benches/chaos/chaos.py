#!/usr/bin/env python3
"""Bad networks and bad clients against examples/production, in network namespaces of this machine.

  bash tests/chaos.sh            builds the server and runs this; root, iproute2, openssl

Three namespaces: the server, the witnesses, and the others. A cable of the kernel (veth) leads from the server to the
witnesses, another to the others. A third one to the others is of two TUN devices; this program carries the packets between
them and loses, delays and reorders some, as `tc netem` would: many kernels have no netem. Nothing is changed outside the
namespaces, which are deleted in the end.

The witnesses echo at a steady pace all the time. After each attack the server must have none of its sessions left, its
memory must have come back, and the witnesses must have lost nothing and been served in time. In the end as many sessions
must have been closed as were opened.
"""

import argparse
import base64
import ctypes
import fcntl
import heapq
import json
import os
import random
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

MARK = f"ch{os.getpid()}"
SERVER, WITNESSES, OTHERS = (f"{MARK}-{name}" for name in ("server", "witnesses", "others"))
# the server's address on the way to the witnesses, to the others, and to the others through the bad cable
GOOD, QUICK, BAD = "10.93.1.1", "10.93.2.1", "10.93.3.1"
PORT, TLS_PORT, CAPPED_PORT = 8080, 8443, 8082

# ---- namespaces ----


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def enter(namespace):
    """Moves this thread into a namespace."""
    with open(f"/run/netns/{namespace}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def inside(namespace, work):
    """Calls `work` in a thread inside of a namespace and returns its result."""
    found = []

    def run():
        try:
            enter(namespace)
            found.append((True, work()))
        except BaseException as error:
            found.append((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    succeeded, result = found[0]
    if not succeeded:
        raise result
    return result


def make_network():
    for namespace in (SERVER, WITNESSES, OTHERS):
        ip("netns", "add", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
    for name, namespace, network in (("good", WITNESSES, "10.93.1"), ("quick", OTHERS, "10.93.2")):
        ip("-n", SERVER, "link", "add", name, "type", "veth", "peer", "name", name, "netns", namespace)
        connect(name, namespace, network)
    for namespace in (SERVER, OTHERS):
        ip("-n", namespace, "tuntap", "add", "dev", "bad", "mode", "tun")
    connect("bad", OTHERS, "10.93.3")


def connect(name, namespace, network):
    for end, last in ((SERVER, 1), (namespace, 2)):
        ip("-n", end, "address", "add", f"{network}.{last}/24", "dev", name)
        ip("-n", end, "link", "set", name, "up")


# ---- the bad cable ----


class Cable(threading.Thread):
    """Carries packets between the two TUN devices."""

    def __init__(self):
        super().__init__(daemon=True)
        self.loss = self.delay = self.jitter = self.reordered = 0.0
        self.is_cut = False
        self.carried = self.lost = 0
        self.ends = [inside(namespace, self.open) for namespace in (SERVER, OTHERS)]

    @staticmethod
    def open():
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        # IFF_TUN | IFF_NO_PI
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"bad", 0x1001))
        return device

    def run(self):
        waiting, number = [], 0
        others = {self.ends[0]: self.ends[1], self.ends[1]: self.ends[0]}
        while True:
            wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
            for end in select.select(self.ends, [], [], wait)[0]:
                try:
                    packet = os.read(end, 65536)
                except OSError:
                    continue
                if self.is_cut or random.random() < self.loss:
                    self.lost += 1
                    continue
                # one that is not delayed overtakes the others
                delay = 0.0 if random.random() < self.reordered else self.delay + random.uniform(-1, 1) * self.jitter
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, others[end], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                try:
                    os.write(end, packet)
                    self.carried += 1
                except OSError:
                    self.lost += 1


# ---- a client ----


def request_of(host):
    key = base64.b64encode(os.urandom(16)).decode()
    return (f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode()


def frame(opcode, payload):
    """A frame with a mask that changes nothing."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x80 | opcode, 0xFE]) + struct.pack(">H", size)
    else:
        head = bytes([0x80 | opcode, 0xFF]) + struct.pack(">Q", size)
    return head + bytes(4) + payload


class Session:
    """A session that reads when it is told to, and answers pings meanwhile."""

    def __init__(self, address, receive_buffer=None, tls=None, wait=30):
        self.stream = socket.socket()
        if receive_buffer is not None:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.stream.settimeout(wait)
        self.stream.connect(address)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.stream = tls.wrap_socket(self.stream, server_hostname=address[0])
        self.stream.sendall(request_of(f"{address[0]}:{address[1]}"))
        self.read = b""
        while b"\r\n\r\n" not in self.read:
            self.fill()
        head, self.read = self.read.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head.split(b"\r\n")[0].decode())

    def fill(self):
        data = self.stream.recv(1 << 16)
        if not data:
            raise ConnectionError("the server has ended the connection")
        self.read += data

    def send(self, payload, opcode=1):
        self.stream.sendall(frame(opcode, payload))

    def receive(self):
        """The next message."""
        while True:
            while len(self.read) < 2:
                self.fill()
            size, start = self.read[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                while len(self.read) < start:
                    self.fill()
                size = int.from_bytes(self.read[2:start], "big")
            while len(self.read) < start + size:
                self.fill()
            opcode, payload = self.read[0] & 15, self.read[start:start + size]
            self.read = self.read[start + size:]
            if opcode == 9:
                self.send(payload, 10)
            elif opcode == 8:
                raise ConnectionError(f"closed with {int.from_bytes(payload[:2], 'big')}")
            else:
                return payload

    def close(self):
        try:
            self.send(struct.pack(">H", 1000), 8)
            while True:
                self.receive()
        except (ConnectionError, OSError):
            self.stream.close()

    def reset(self):
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()


# ---- programs that this one starts ----


def witnesses(count, pause):
    """Echoes on `count` sessions in turn, one message after each pause; a line of input asks for what was seen so far."""
    sessions = [Session((GOOD, PORT)) for _ in range(count)]
    times, number, lost, due = [], 0, 0, time.monotonic()
    print("open", flush=True)
    while True:
        due = max(due + pause, time.monotonic() - 1)
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            if not sys.stdin.readline():
                break
            times.sort()
            p50, p99 = (times[int(len(times) * share)] * 1000 if times else 0.0 for share in (0.5, 0.99))
            print(json.dumps({"count": len(times), "p50": p50, "p99": p99, "lost": lost}), flush=True)
            times = []
        session, text = sessions[number % count], f"{number}".encode()
        number += 1
        started = time.monotonic()
        try:
            session.send(text)
            lost += session.receive() != text
        except OSError as error:
            print(f"a witness was lost: {error}", file=sys.stderr)
            lost += 1
            sessions[(number - 1) % count] = Session((GOOD, PORT))
        times.append(time.monotonic() - started)
    for session in sessions:
        session.close()


def crowd(count):
    """Sessions that talk until the program is killed."""
    sessions = [Session((QUICK, PORT)) for _ in range(count)]
    print("open", flush=True)
    while True:
        for session in sessions:
            session.send(b"still here")
            session.receive()
        time.sleep(0.2)


def start(namespace, *words, **options):
    command = ["ip", "netns", "exec", namespace, *words]
    return subprocess.Popen(command, text=True, preexec_fn=die_with_parent, **options)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start_self(namespace, *words):
    return start(namespace, sys.executable, __file__, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


# ---- the server ----


class Server:
    def __init__(self, program, port, admin, *flags):
        self.admin = admin
        words = ["--addr", f"0.0.0.0:{port}", "--admin-addr", f"127.0.0.1:{admin}"]
        hosts = ",".join((GOOD, QUICK, BAD))
        # what is freed goes back to the system, so that the memory of the process is what the server holds
        returns = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"}
        self.process = start(SERVER, program, *words, "--allowed-hosts", hosts, *flags, stdout=subprocess.PIPE,
                             env=os.environ | returns)
        while "endpoint:" not in (line := self.process.stdout.readline()):
            if not line:
                raise SystemExit("the server did not start")

    def metrics(self):
        """Sums over the labels, and over single values of a label that says why."""

        def read():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
                return answer.read().decode()

        sums = {}
        for line in inside(SERVER, read).splitlines():
            if line.startswith("websocket_server_"):
                name, value = line.rsplit(" ", 1)
                name, _, labels = name.partition("{")
                short = name.removeprefix("websocket_server_")
                sums[short] = sums.get(short, 0.0) + float(value)
                for label in ("kind", "pool"):
                    if f'{label}="' in labels:
                        kind = labels.split(f'{label}="')[1].split('"')[0]
                        sums[f"{short} {kind}"] = sums.get(f"{short} {kind}", 0.0) + float(value)
        return sums

    def memory(self):
        """Resident, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


# ---- the attacks: each opens sessions as it likes and returns what it saw; then the server has to get rid of them ----


def bad_network(run):
    """Sessions talk through a cable that loses, delays and reorders packets. Every echo comes, in order."""
    cable = run.cable
    cable.loss, cable.delay, cable.jitter, cable.reordered = 0.02, 0.05, 0.02, 0.05
    echoed = []

    def talk(number):
        def work():
            session = Session((BAD, PORT), wait=60)
            for at in range(40):
                batch = [f"{number}/{at}/{part}".encode() * 20 for part in range(5)]
                for text in batch:
                    session.send(text)
                for text in batch:
                    assert session.receive() == text, "an echo is wrong or out of order"
            session.close()
            echoed.append(200)

        inside(OTHERS, work)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(run.scaled(100))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cable.loss = cable.delay = cable.jitter = cable.reordered = 0.0
    assert sum(echoed) == 200 * len(threads), f"{sum(echoed)} of {200 * len(threads)} echoes came"
    return f"{sum(echoed)} echoes in order; {cable.lost} packets lost"


def half_open(run):
    """Peers whose network goes away without a packet."""
    count = run.scaled(200)
    run.keep = inside(OTHERS, lambda: [Session((BAD, PORT), wait=60) for _ in range(count)])
    run.cable.is_cut = True
    return f"{count} peers vanished"


def killed(run):
    """A thousand clients in ten processes, killed with SIGKILL."""
    each, rounds = run.scaled(100), 3
    for _ in range(rounds):
        kill(each)
    return f"{10 * each} clients killed, {rounds} times"


def kill(each):
    crowds = [start_self(OTHERS, "crowd", "--count", str(each)) for _ in range(10)]
    for crowd in crowds:
        assert crowd.stdout.readline() == "open\n"
    for crowd in crowds:
        crowd.kill()
    for crowd in crowds:
        crowd.wait()


def resets(run):
    """A thousand sessions that are reset in the middle of a message, with unread echoes."""
    count, rounds = run.scaled(1000), 5

    def work():
        sessions = [Session((QUICK, PORT)) for _ in range(count)]
        for session in sessions:
            session.stream.sendall(frame(1, b"x" * 5000) * 2 + frame(1, b"y" * 5000)[:900])
        for session in sessions:
            session.reset()

    for _ in range(rounds):
        inside(OTHERS, work)
    return f"{count} sessions reset, {rounds} times"


def slow_readers(run):
    """Peers that send large messages and never read their echoes."""
    count = run.scaled(50)

    def work():
        sessions = [Session((QUICK, PORT), receive_buffer=4096) for _ in range(count)]
        message = frame(2, bytes(256 << 10))
        for session in sessions:
            session.stream.setblocking(False)
        sent = [0] * count
        for _ in range(40):
            for at, session in enumerate(sessions):
                try:
                    # what is left of a message goes first
                    sent[at] += session.stream.send(message[sent[at] % len(message):])
                except BlockingIOError:
                    pass
            time.sleep(0.05)
        return sessions, sum(sent)

    run.keep, sent = inside(OTHERS, work)
    return f"{count} readers, {sent >> 20} MiB sent"


def junk(run):
    """Random bytes to both ports, broken TLS, plain HTTP to the port of TLS, TLS to the plain one, and silence."""
    count = run.scaled(500)
    hello = bytes([0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]) + os.urandom(100)
    tls = ssl.create_default_context(cafile=run.certificate)
    tls.check_hostname = False
    held = []

    def work():
        for number in range(count):
            what = [os.urandom(500), hello, request_of(QUICK), hello[:5], b"\x16\x03\x01\xff\xff" + os.urandom(4000), b""]
            for port in (PORT, TLS_PORT):
                stream = socket.create_connection((QUICK, port), timeout=30)
                try:
                    stream.sendall(what[number % len(what)])
                except OSError:
                    pass
                # every second one stays and says nothing more
                if number % 2 == 0:
                    held.append(stream)
                else:
                    stream.close()
        # served meanwhile
        session = Session((QUICK, TLS_PORT), tls=tls)
        session.send(b"served")
        assert session.receive() == b"served"
        session.close()

    inside(OTHERS, work)
    run.keep = held
    return f"{2 * count} connections, {len(held)} stay"


def caps(run):
    """More sessions and messages than the flags of another server allow."""
    flags = ["--max-sessions-per-address", "50", "--max-sessions", "60", "--rate", "20/s burst 40"]
    server = Server(run.arguments.server, CAPPED_PORT, 9092, *flags)

    def open_many(address):
        opened, refused = [], {}
        for _ in range(200):
            try:
                opened.append(Session((address, CAPPED_PORT)))
            except ConnectionError as error:
                refused[str(error).split()[1]] = refused.get(str(error).split()[1], 0) + 1
        return opened, refused

    try:
        opened, refused = inside(OTHERS, lambda: open_many(QUICK))
        run.check(len(opened) == 50 and refused == {"429": 150}, f"caps: {len(opened)} sessions of an address, {refused}")
        more, refused = inside(WITNESSES, lambda: open_many(GOOD))
        run.check(len(more) == 10 and refused == {"503": 190}, f"caps: {len(more)} sessions of another address, {refused}")
        started = time.monotonic()
        more[0].stream.sendall(frame(1, b"x") * 100)
        for _ in range(100):
            more[0].receive()
        seconds = time.monotonic() - started
        run.check(2.9 < seconds < 10, f"caps: 100 messages took {seconds:.1f} s")
        for session in opened + more:
            session.reset()
        run.wait(lambda: server.metrics().get("sessions", 0) == 0, 10)
        left = int(server.metrics().get("sessions", 0))
        run.check(left == 0, f"caps: {left} sessions are left")
    finally:
        server.process.kill()
    return f"50 and 10 sessions of 400 admitted, 100 messages in {seconds:.1f} s"


ATTACKS = [
    ("loss, delay, reordering", bad_network, 5),
    ("half-open peers", half_open, 90),
    ("kill -9", killed, 10),
    ("resets", resets, 10),
    ("slow readers", slow_readers, 60),
    ("junk on both ports", junk, 90),
    ("over the caps of flags", caps, 10),
]


# ---- the run ----


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        self.keep = None
        self.rows, self.failures = [], []
        directory = tempfile.mkdtemp()
        self.certificate, key = f"{directory}/cert.pem", f"{directory}/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
             "-subj", "/CN=chaos", "-addext", f"subjectAltName=IP:{QUICK}", "-keyout", key, "-out", self.certificate],
            check=True, stderr=subprocess.DEVNULL)
        make_network()
        self.cable = Cable()
        self.cable.start()
        self.server = Server(arguments.server, PORT, 9090)
        self.secure = Server(arguments.server, TLS_PORT, 9091, "--tls-cert", self.certificate, "--tls-key", key)
        self.count = 20
        self.witnesses = start_self(WITNESSES, "witnesses", "--count", str(self.count))
        assert self.witnesses.stdout.readline() == "open\n"

    def scaled(self, count):
        return max(1, int(count * self.arguments.scale))

    def seen(self):
        """What the witnesses saw since the last time."""
        self.witnesses.stdin.write("?\n")
        self.witnesses.stdin.flush()
        return json.loads(self.witnesses.stdout.readline())

    def check(self, holds, text):
        if not holds:
            self.failures.append(text)
            print(f"FAILED: {text}", flush=True)

    def run(self):
        # what the server allocates once, such as for a thousand sessions at a time
        resets(self)
        self.settle(30)
        base, files = self.memory(), self.files()
        self.seen()
        time.sleep(self.arguments.rest)
        alone = self.seen()
        print(f"alone: {alone}, {base:.1f} MiB, {files} files", flush=True)
        for name, attack, limit in ATTACKS:
            if self.arguments.only not in name:
                continue
            before, started = self.server.metrics(), time.monotonic()
            said = attack(self)
            attacked = time.monotonic()
            peak, left, seconds = self.settle(limit, files)
            after, seen = self.server.metrics(), self.seen()
            for kept in self.keep or []:
                (kept.stream if isinstance(kept, Session) else kept).close()
            self.keep, self.cable.is_cut = None, False
            memory = self.memory()
            grown = {key: after.get(key, 0) - before.get(key, 0) for key in after}
            self.check(left == 0, f"{name}: {left} sessions or files are left after {seconds:.0f} s")
            self.check(seen["lost"] == 0, f"{name}: the witnesses lost {seen['lost']} messages")
            most = 2 * alone["p99"] + self.arguments.noise
            self.check(seen["p99"] <= most, f"{name}: p99 of the witnesses {seen['p99']:.1f} ms, alone {alone['p99']:.1f}")
            self.check(memory <= base + self.arguments.growth, f"{name}: {memory:.1f} MiB, before {base:.1f}")
            timeouts = ", ".join(f"{int(grown[key])} {key.split()[1]}" for key in sorted(grown)
                                 if key.startswith("session_timeouts_total ") and grown[key])
            self.rows.append([
                name, said, f"{attacked - started:.0f}", f"{seconds:.0f}", timeouts or "none",
                f"{seen['p50']:.1f} / {seen['p99']:.1f}", f"{seen['count']}, {seen['lost']}", f"{peak:.0f}", f"{memory:.0f}"])
            print(" | ".join(self.rows[-1]), flush=True)
        self.witnesses.stdin.close()
        self.witnesses.wait(30)
        self.wait(lambda: self.server.metrics().get("sessions", 0) == 0, 10)
        end = self.server.metrics()
        opened, closed = int(end["sessions_opened_total"]), int(end["sessions_closed_total"])
        self.check(opened == closed, f"{opened} sessions were opened and {closed} closed")
        self.check(end["memory_bytes"] == 0, f"{end['memory_bytes']} bytes of the pools are still counted")
        self.report(alone, base, opened, closed)
        return not self.failures

    def memory(self):
        return self.server.memory() + self.secure.memory()

    def files(self):
        return self.server.files() + self.secure.files()

    def settle(self, limit, files=None):
        """Waits until only the witnesses are left. Returns the peak of the memory, what is left, and the seconds."""
        peak, started = [0.0], time.monotonic()

        def left():
            peak[0] = max(peak[0], self.memory())
            sessions = int(self.server.metrics().get("sessions", 0)) - self.count
            sessions += int(self.secure.metrics().get("sessions", 0))
            # the connections that ask for the metrics are files, too
            return max(sessions, self.files() - files - 4 if files else 0, 0)

        self.wait(lambda: left() == 0, limit)
        return peak[0], left(), time.monotonic() - started

    @staticmethod
    def wait(holds, limit):
        end = time.monotonic() + limit
        while not holds() and time.monotonic() < end:
            time.sleep(0.5)

    def report(self, alone, base, opened, closed):
        head = ["attack", "what", "took, s", "gone after, s", "sessions ended by a time limit", "witnesses' p50 / p99, ms",
                "their messages, lost", "peak memory, MiB", "memory after, MiB"]
        table = [head, ["---", "---", *["---:"] * 7], *self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in table]
        lines.append("")
        lines.append(f"Alone: p50 / p99 {alone['p50']:.1f} / {alone['p99']:.1f} ms, memory {base:.0f} MiB. Sessions opened and "
                     f"closed: {opened:,}, {closed:,}. Load average at the end: {os.getloadavg()[0]:.1f}.")
        text = "\n".join(lines)
        print(text)
        if self.arguments.out:
            with open(self.arguments.out, "w") as file:
                file.write(text + "\n")

    def stop(self):
        for process in (self.witnesses, self.server.process, self.secure.process):
            process.kill()


def main():
    if len(sys.argv) > 1 and sys.argv[1] in ("witnesses", "crowd"):
        count = int(sys.argv[3])
        return witnesses(count, 0.005) if sys.argv[1] == "witnesses" else crowd(count)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="the program of examples/production")
    parser.add_argument("--out", help="a file for the table")
    parser.add_argument("--only", default="", help="attacks whose name contains this")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of clients")
    parser.add_argument("--rest", type=float, default=15.0, help="seconds in which the witnesses are alone")
    parser.add_argument("--noise", type=float, default=25.0,
                        help="ms that p99 may exceed twice that of the witnesses alone; more without optimisation")
    parser.add_argument("--growth", type=float, default=16.0, help="MiB that may stay after an attack")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("network namespaces need root")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = None
    try:
        run = Run(arguments)
        succeeded = run.run()
    finally:
        if run is not None:
            run.stop()
        for namespace in (SERVER, WITNESSES, OTHERS):
            subprocess.run(["ip", "netns", "delete", namespace], stderr=subprocess.DEVNULL)
    sys.exit(0 if succeeded else 1)


if __name__ == "__main__":
    main()
