"""python3 -m unittest discover tests/autobahn"""
import unittest

from verdict import FAILED, INFORMATIONAL, NON_STRICT, OK, UNIMPLEMENTED, Gate, Judgement, choose, verdict


def result(behavior=OK, close=OK, code=1000):
    return {"behavior": behavior, "behaviorClose": close, "remoteCloseCode": code}


class Verdict(unittest.TestCase):
    def test_table(self):
        for behavior, close, expected in [
            (OK, OK, OK),
            (OK, INFORMATIONAL, OK),
            (NON_STRICT, OK, NON_STRICT),
            (INFORMATIONAL, INFORMATIONAL, INFORMATIONAL),
            (UNIMPLEMENTED, OK, UNIMPLEMENTED),
            (FAILED, OK, FAILED),
            ("UNHEARD OF", OK, FAILED),
            (OK, "FAILED BY CLIENT", FAILED),
            (OK, "WRONG CODE", FAILED),
            (OK, "UNCLEAN", FAILED),
            (UNIMPLEMENTED, FAILED, FAILED),
        ]:
            with self.subTest(behavior=behavior, close=close):
                self.assertEqual(verdict(result(behavior, close)), expected)

    def test_no_result_is_failed(self):
        self.assertEqual(verdict(None), FAILED)


class TheGate(unittest.TestCase):
    def passes(self, results, **gate):
        return Judgement(list(results), {c: r for c, r in results.items() if r}, Gate(**gate)).passed

    def test_failed_never_passes(self):
        self.assertFalse(self.passes({"1.1.1": result(FAILED)}))

    def test_missing_never_passes(self):
        self.assertFalse(self.passes({"1.1.1": result(), "1.1.2": None}))

    def test_non_strict_fails_only_where_strict(self):
        results = {"6.4.1": result(NON_STRICT)}
        self.assertTrue(self.passes(results))
        self.assertFalse(self.passes(results, strict=True))

    def test_unimplemented_fails_only_where_deflate_is_needed(self):
        results = {"12.1.1": result(UNIMPLEMENTED)}
        self.assertTrue(self.passes(results))
        self.assertFalse(self.passes(results, need_deflate=True))

    def test_dropped_connection_fails_only_where_close_codes_are_needed(self):
        results = {"5.3": result(code=None)}
        self.assertTrue(self.passes(results))
        self.assertFalse(self.passes(results, need_close_code=True))

    def test_empty_close_may_be_answered_by_one(self):
        self.assertTrue(self.passes({"7.3.1": result(code=None)}, need_close_code=True))

    def test_informational_passes_every_gate(self):
        results = {"7.1.6": result(INFORMATIONAL, INFORMATIONAL)}
        self.assertTrue(self.passes(results, strict=True, need_deflate=True, need_close_code=True))


class Report(unittest.TestCase):
    def test_summary_counts_what_was_asked_for(self):
        results = {"1.1.1": result(), "6.4.1": result(NON_STRICT), "7.1.6": result(INFORMATIONAL)}
        judgement = Judgement(["1.1.1", "1.1.2", "6.4.1", "7.1.6"], results, Gate())
        self.assertEqual(judgement.summary(), "autobahn: 1 OK, 1 NON-STRICT, 1 INFORMATIONAL, 1 FAILED of 4")
        self.assertIn("no result, counted as FAILED: 1.1.2", list(judgement.remarks()))


class Choice(unittest.TestCase):
    every = ["1.1.1", "1.1.10", "1.1.2", "10.1.1", "12.1.1"]

    def test_sorted_by_number(self):
        self.assertEqual(choose(self.every, ["*"], []), ["1.1.1", "1.1.2", "1.1.10", "10.1.1", "12.1.1"])

    def test_a_dot_is_a_dot(self):
        self.assertEqual(choose(self.every, ["1.*"], []), ["1.1.1", "1.1.2", "1.1.10"])

    def test_exclude(self):
        self.assertEqual(choose(self.every, ["1*"], ["1.*", "12.*"]), ["10.1.1"])

    def test_a_pattern_that_matches_nothing_is_a_mistake(self):
        with self.assertRaisesRegex(ValueError, "99"):
            choose(self.every, ["99.*"], [])


if __name__ == "__main__":
    unittest.main()
