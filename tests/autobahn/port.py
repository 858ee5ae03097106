"""Rewrites the installed copy of `autobahntestsuite` for Python 3, in place, once.

    VENV/bin/python port.py

The suite is Python 2 code. fissix, which is lib2to3 kept alive after Python 3.13 dropped it, turns its grammar; the
edits below mend what it cannot know, which is mostly where a Python 2 `str` means bytes. At run time `wire_bytes.py`
stands between the two meanings; it goes into the package beside the rewritten files. Every edit says how often it
must apply at least, so that another version of the suite stops here instead of testing something else in silence.
"""
import importlib.util
import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path

from fissix.refactor import RefactoringTool

GRAMMAR = ["print", "except", "raise", "has_key", "xrange", "unicode", "numliterals", "import"]

Edit = namedtuple("Edit", "files find replace at_least")

SUITE_EDITS = [
    # old-style classes as bases of classes made by type()
    Edit(r"case/case(6_x_x|7_7_X|7_9_X|9_7_X|12_x_x)\.py", r"\(object, Case, \)", "(Case, )", 1),
    # in no list of cases, and it needs an old zope.interface
    Edit(r"case/__init__\.py", r"from \.case9_9_1 import \*\n", "", 1),
    # another mode of wstest, and it needs unittest2
    Edit(r"wstest\.py", r"from \. import serializer\n", "", 1),
    # bytes in, text out
    Edit(r"(case/.*|fuzzing)\.py", r"binascii\.(b2a_hex|hexlify)\(", "_wire_bytes.to_hex(", 0),
    Edit(r"fuzzing\.py", r"''\.join\(payload\)", "b''.join(payload)", 1),
    Edit(r"fuzzing\.py", r"\.encode\((\"utf-8\"|'utf8')\)\)", ")", 2),
    Edit(r"fuzzing\.py", r"json\.dumps\((case|res), ", r"json.dumps(\1, default = _wire_bytes.to_json, ", 2),
    Edit(r"case/case6_x_x\.py", r"\bUtf8Validator\(\)", "_wire_bytes.Validator()", 1),
    # a count of fragments is whole
    Edit(r"case/case10_1_1\.py", r"\) / self\.p\.autoFragmentSize", ") // self.p.autoFragmentSize", 1),
]
ENGINE_EDITS = [
    Edit(r"websocket/protocol\.py", r"range\(payload_len / len\(payload\)\)", "range(payload_len // len(payload))", 1),
]
# modes of wstest that are never run here: WAMP, wsperf, the result database
UNUSED = re.compile(r"wampcase/.*|(.*/)?(wamp\w*|wsperf\w*|testdb|testrun|util|_wire_bytes)\.py")


def main():
    suite, engine = package("autobahntestsuite"), package("autobahn")
    bridge = suite / "_wire_bytes.py"
    if bridge.exists():
        sys.exit(f"port: {suite} is rewritten already")

    grammar = RefactoringTool([f"fissix.fixes.fix_{name}" for name in GRAMMAR])
    rewritten = {}
    for path in sorted(suite.rglob("*.py")):
        name = path.relative_to(suite).as_posix()
        if not UNUSED.fullmatch(name):
            rewritten[path] = rewrite_suite_file(grammar, path, name)
    protocol = engine / "websocket/protocol.py"
    rewritten[protocol] = apply(ENGINE_EDITS, "websocket/protocol.py", protocol.read_text(encoding="utf-8"))

    # nothing is written before everything could be
    for path, source in rewritten.items():
        path.write_text(source, encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("wire_bytes.py"), bridge)
    print(f"port: {len(rewritten)} files rewritten")


def package(name):
    return Path(importlib.util.find_spec(name).origin).parent


def rewrite_suite_file(grammar, path, name):
    # what a case spells out are bytes, so each byte of its source becomes one character
    source = path.read_text(encoding="latin-1" if name.startswith("case/") else "utf-8")
    # (by its whole path: the fixer of imports looks for modules beside the file)
    source = str(grammar.refactor_string(source.rstrip("\n") + "\n", str(path)))
    source = apply(SUITE_EDITS, name, source)
    if "_wire_bytes." in source:
        source = "from autobahntestsuite import _wire_bytes\n" + source
    compile(source, name, "exec")
    return source


def apply(edits, name, source):
    for edit in edits:
        if re.fullmatch(edit.files, name):
            source, count = re.subn(edit.find, edit.replace, source)
            if count < edit.at_least:
                sys.exit(f"port: {name}: {edit.find!r} applied {count} times, not {edit.at_least} or more")
    return source


if __name__ == "__main__":
    main()
