#!/usr/bin/env python3
"""Runs the cases of the Autobahn WebSocket suite against one echo client: the suite is the server.

    tests/autobahn/run_client.py target/release/examples/autobahn_client --strict --need-deflate --need-close-code

The program is called with the address of the suite's server. It asks for /getCaseCount, echoes in /runCase?case=N&agent=…
for each case from 1 on, and ends with /updateReports?agent=…. What is printed, and the exit status, are as of run.py.
"""
import argparse
import socket
import subprocess
import sys
import time
from pathlib import Path

from run import CannotRun, Client, Suite, chosen, exit_status, judge, parse_common


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", type=Path, help="the program")
    return exit_status(run, parse_common(parser))


def run(options):
    client = options.client.resolve()
    if not client.is_file():
        raise CannotRun(f"{client} does not exist: cargo build --release -p examples --example autobahn_client")
    suite = Suite.installed()

    def play(cases, options, folder):
        shares = [cases[i :: options.jobs] for i in range(min(options.jobs, len(cases)))]
        pairs, results, troubles = [], {}, []
        try:
            for i, share in enumerate(shares):
                pairs.append(Pair(suite, client, share, folder / f"client{i}"))
            deadline = time.monotonic() + options.timeout
            for pair in pairs:
                troubles.extend(pair.wait(deadline))
        finally:
            for pair in pairs:
                pair.stop()
        for pair in pairs:
            results.update(pair.results())
        return results, troubles

    return judge(play, chosen(suite, options), options)


class Pair:
    """A server of the suite with its share of the cases, and the client that plays them."""

    def __init__(self, suite, program, cases, folder):
        self.port = free_port()
        url = f"ws://127.0.0.1:{self.port}"
        self.server = Client(suite.fuzz("fuzzingserver", cases, folder, url=url), folder)
        self.program = None
        self.listens()
        with open(folder / "program", "w") as log:
            self.program = subprocess.Popen([program, url], stdout=log, stderr=subprocess.STDOUT)

    def listens(self):
        """Waits until the server does, half a minute at most."""
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=10).close()
                return
            except OSError:
                if self.server.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    log = (self.server.folder / "log").read_text(errors="replace")
                    raise CannotRun(f"the suite's server did not start: {log[-500:]}") from None
                time.sleep(0.05)

    def wait(self, deadline):
        try:
            status = self.program.wait(max(0, deadline - time.monotonic()))
            if status:
                output = (self.server.folder / "program").read_text(errors="replace").splitlines()
                yield f"the client exited with {status}: {output[-1] if output else '(no output)'}"
        except subprocess.TimeoutExpired:
            yield "the client timed out"
        if not self.server.index.exists():
            yield "the suite wrote no report"

    def stop(self):
        if self.program and self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        self.server.stop()

    def results(self):
        return self.server.results()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
