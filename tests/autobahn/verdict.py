"""What the suite's results mean for the gate. Takes what was reported, returns a judgement; runs nothing."""
import re
from collections import Counter
from dataclasses import dataclass

OK, NON_STRICT, INFORMATIONAL, UNIMPLEMENTED, FAILED = "OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"


@dataclass(frozen=True)
class Gate:
    """What fails besides FAILED."""

    strict: bool = False
    need_deflate: bool = False
    need_close_code: bool = False


class Judgement:
    """The verdicts of the cases that were asked for, whether or not they left a result."""

    def __init__(self, cases, results, gate):
        self.results = results
        self.verdicts = {case: verdict(results.get(case)) for case in cases}
        self.missing = [case for case in cases if case not in results]
        self.codeless = [case for case in cases if case in results and lacks_close_code(case, results[case])]
        self.count = Counter(self.verdicts.values())
        self.passed = not (
            self.count[FAILED]
            or (gate.strict and self.count[NON_STRICT])
            or (gate.need_deflate and self.count[UNIMPLEMENTED])
            or (gate.need_close_code and self.codeless)
        )

    def remarks(self):
        """A line for each case that needs attention."""
        for case, outcome in self.verdicts.items():
            if case in self.results and outcome not in (OK, UNIMPLEMENTED):
                result = self.results[case]
                code = "no close code" if result["remoteCloseCode"] is None else f"close code {result['remoteCloseCode']}"
                yield f"{case:<8} {outcome}: behaviour {result['behavior']}, closing {result['behaviorClose']}, {code}"
        if self.missing:
            yield f"no result, counted as FAILED: {' '.join(self.missing)}"
        if self.codeless:
            yield f"{len(self.codeless)} ended without a close code from the peer: {' '.join(self.codeless)}"
        if self.count[UNIMPLEMENTED]:
            declined = [case for case, outcome in self.verdicts.items() if outcome == UNIMPLEMENTED]
            yield f"{len(declined)} UNIMPLEMENTED, the offer of permessage-deflate was declined: {groups(declined)}"

    def summary(self):
        counts = ", ".join(f"{self.count[outcome]} {outcome}" for outcome in (OK, NON_STRICT, INFORMATIONAL, FAILED))
        return f"autobahn: {counts} of {len(self.verdicts)}"


def verdict(result):
    """One case. Closing badly is a failure however well the case went before; so is having no result at all."""
    if result is None:
        return FAILED
    if result["behaviorClose"] not in (OK, INFORMATIONAL):
        return FAILED
    known = result["behavior"] in (OK, NON_STRICT, INFORMATIONAL, UNIMPLEMENTED)
    return result["behavior"] if known else FAILED


def lacks_close_code(case, result):
    """The suite takes a dropped connection for a close. (An empty close frame, 7.3.1, may be answered by one.)"""
    return result["remoteCloseCode"] is None and case != "7.3.1"


def choose(every, wanted, unwanted):
    """The cases that match a pattern of the first list and none of the second, in the suite's order by number."""
    cases = matching(every, wanted) - matching(every, unwanted)
    return sorted(cases, key=by_number)


def matching(every, patterns):
    found = set()
    for pattern in patterns:
        rule = re.compile(re.escape(pattern).replace(r"\*", ".*"))
        hits = {case for case in every if rule.fullmatch(case)}
        if not hits:
            raise ValueError(f"no case matches {pattern!r}")
        found |= hits
    return found


def by_number(case):
    return [int(part) for part in case.split(".")]


def groups(cases):
    count = Counter(case.rpartition(".")[0] for case in cases)
    return ", ".join(f"{group}.* {n}" for group, n in sorted(count.items(), key=lambda item: by_number(item[0])))
