#!/usr/bin/env python3
"""Runs the cases of the Autobahn WebSocket suite against one echo server on this machine.

    tests/autobahn/run.py ws://127.0.0.1:PORT/PATH --strict --need-deflate --need-close-code

The server must send back each message with its type. Cases that are not OK have a line each; the last line is
    autobahn: N OK, N NON-STRICT, N INFORMATIONAL, N FAILED of N
A case without a result, as when the server died, counts as FAILED. The exit status is 0 if the gate is passed, 1 if
it is not, 2 if the suite could not be run: no server, a wrong path, an address that is not loopback, a bad option.
"""
import argparse
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from verdict import Gate, Judgement, choose

HERE = Path(__file__).resolve().parent
MARK = ".autobahn-reports"


class CannotRun(Exception):
    """The suite cannot be run as asked."""


def main():
    options = parse_options()
    return exit_status(run, options)


def exit_status(run, options):
    try:
        judgement = run(options)
    except CannotRun as trouble:
        print(f"autobahn: {trouble}", file=sys.stderr)
        return 2
    print(judgement.summary())
    return 0 if judgement.passed else 1


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="ws:// address of an echo endpoint on loopback")
    parser.add_argument("-a", "--agent", default="server", metavar="NAME", help="name of the server in the reports")
    return parse_common(parser)


def parse_common(parser):
    patterns = {"type": lambda text: [p.strip() for p in text.split(",") if p.strip()], "metavar": "PATTERNS"}
    parser.add_argument("-c", "--cases", default=["*"], help="case numbers or patterns: '1.*,6.4.*,9.1.6' (all)", **patterns)
    parser.add_argument("-x", "--exclude", default=[], help="cases to exclude, in the same form", **patterns)
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="number of parallel clients (1)")
    parser.add_argument("-t", "--timeout", type=float, default=3600, metavar="SECONDS", help="limit of the whole run (3600)")
    parser.add_argument("-o", "--reports", type=Path, metavar="FOLDER",
                        help="folder for the HTML and JSON reports, replaced (default: temporary, kept only on failure)")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="print the N slowest cases")
    parser.add_argument("--strict", action="store_true", help="fail on NON-STRICT")
    parser.add_argument("--need-deflate", action="store_true", help="fail on a declined offer of compression")
    parser.add_argument("--need-close-code", action="store_true", help="fail on a connection that ends without a close code")
    options = parser.parse_args()
    if options.jobs < 1 or options.timeout <= 0:
        parser.error("--jobs and --timeout must be positive")
    return options


def run(options):
    host, port, target = loopback(options.url)
    suite = Suite.installed()
    cases = chosen(suite, options)
    shake_hands(options.url, host, port, target)
    return judge(suite.run, cases, options)


def chosen(suite, options):
    try:
        cases = choose(suite.cases(), options.cases, options.exclude)
    except ValueError as mistake:
        raise CannotRun(mistake) from None
    if not cases:
        raise CannotRun("no cases to run")
    return cases


def judge(play, cases, options):
    """Has the cases played, and says what came of them."""
    folder = fresh_folder(options.reports)
    started = time.monotonic()
    results, troubles = play(cases, options, folder)
    judgement = Judgement(cases, results, Gate(options.strict, options.need_deflate, options.need_close_code))

    for remark in judgement.remarks():
        print(remark)
    for trouble in troubles:
        print(f"! {trouble}")
    if options.slowest:
        print("slowest:", ", ".join(slowest(results, options.slowest)))
    if judgement.passed and not options.reports:
        shutil.rmtree(folder)
    else:
        print(f"reports: {folder}/client*/report/index.html")
    print(f"took {time.monotonic() - started:.0f} s")
    return judgement


class Suite:
    """The installed suite. It exits 0 whatever happens, so what it leaves in its folder is what counts."""

    LIST = (
        "import json; from autobahntestsuite.case import Cases;"
        "print(json.dumps([case.__name__[len('Case'):].replace('_', '.') for case in Cases]))"
    )

    def __init__(self, python):
        self.command = [python, "-W", "ignore"]
        self.env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        self.env["PYTHONUTF8"] = "1"

    @classmethod
    def installed(cls):
        setup = subprocess.run(["bash", HERE / "setup.sh"], stdout=subprocess.PIPE, text=True)
        if setup.returncode:
            raise CannotRun("cannot install the suite")
        return cls(setup.stdout.strip())

    def cases(self):
        listed = subprocess.run([*self.command, "-c", self.LIST], env=self.env, stdout=subprocess.PIPE)
        if listed.returncode:
            raise CannotRun("cannot list the cases of the installed suite")
        return json.loads(listed.stdout)

    def run(self, cases, options, folder):
        """Returns the results by case, and what went wrong in words."""
        shares = [cases[i :: options.jobs] for i in range(min(options.jobs, len(cases)))]
        clients = []
        try:
            for i, share in enumerate(shares):
                clients.append(self.start(share, options, folder / f"client{i}"))
            deadline = time.monotonic() + options.timeout
            troubles = [trouble for client in clients for trouble in client.wait(deadline)]
        finally:
            for client in clients:
                client.stop()
        results = {}
        for client in clients:
            results.update(client.results())
        return results, troubles

    def start(self, cases, options, folder):
        process = self.fuzz("fuzzingclient", cases, folder, servers=[{"agent": options.agent, "url": options.url}])
        return Client(process, folder)

    def fuzz(self, mode, cases, folder, **rest):
        """Starts the suite in one of its modes, with a folder of its own."""
        folder.mkdir()
        spec = {
            "outdir": str(folder / "report"),
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
            **rest,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        command = [*self.command, "-m", "autobahntestsuite._wire_bytes", "-m", mode, "-s", "spec.json", "-u", "0"]
        with open(folder / "log", "w") as log:
            return subprocess.Popen(command, cwd=folder, env=self.env, stdout=log, stderr=subprocess.STDOUT)


class Client:
    """One process of the suite, with its share of the cases."""

    def __init__(self, process, folder):
        self.process = process
        self.folder = folder

    def wait(self, deadline):
        try:
            status = self.process.wait(max(0, deadline - time.monotonic()))
            if status:
                yield f"{self.folder.name} exited with {status}"
        except subprocess.TimeoutExpired:
            self.stop()
            yield f"{self.folder.name} timed out"
        log = (self.folder / "log").read_text(errors="replace").splitlines()
        yield from (line for line in log if line.startswith("Connection to "))
        if not self.index.exists():
            yield f"{self.folder.name} wrote no report; the end of its log: {log[-1] if log else '(empty)'}"

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def index(self):
        return self.folder / "report" / "index.json"

    def results(self):
        if not self.index.exists():
            return {}
        agents = json.loads(self.index.read_text())
        return next(iter(agents.values()), {})


def loopback(url):
    """The suite sends hostile traffic by the megabyte, so it stays on this machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as mistake:
        raise CannotRun(f"{url!r}: {mistake}") from None
    if parts.scheme != "ws":
        raise CannotRun(f"{url!r} is not a ws:// address")
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise CannotRun(f"{url!r} is not on loopback")
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def shake_hands(url, host, port, target):
    """A server that is not there fails here, in one sentence, and not in every case."""
    request = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall("\r\n".join([*request, "", ""]).encode())
            status = connection.makefile("rb").readline().decode("latin-1").strip()
    except OSError as trouble:
        raise CannotRun(f"{url}: {trouble}") from None
    if status.split(" ")[1:2] != ["101"]:
        raise CannotRun(f"{url} responded to the handshake with {status!r}")


def fresh_folder(folder):
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="autobahn-"))
    folder = folder.resolve()
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).exists()):
            raise CannotRun(f"{folder} contains other files; choose another folder for the reports")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


def slowest(results, n):
    # a case whose handshake failed reports the time of day for a duration
    timed = {case: result["duration"] / 1000 for case, result in results.items() if result["duration"] < 1e9}
    return [f"{case} {timed[case]:.1f} s" for case in sorted(timed, key=timed.get, reverse=True)[:n]]


if __name__ == "__main__":
    sys.exit(main())
