"""What a workflow returns, rule by rule."""

import http
import json
import unittest

from tidegate_runtime import outcome


def reply(value):
    """The reply to a returned value, and the warnings."""
    warnings = []
    return outcome.reply(value, warnings.append), warnings


class Replies(unittest.TestCase):
    def test_dict_becomes_the_response(self):
        got, warnings = reply(dict(status_code=201, body="é", headers={"Content-Type": "text/plain"}))
        self.assertEqual((got.status, got.body), (201, "é".encode()))
        self.assertEqual(got.headers, [("Content-Type", "text/plain")])
        self.assertEqual(warnings, [])

    def test_headers_are_optional(self):
        for value in (dict(status_code=204, body=""), dict(status_code=204, body="", headers=None)):
            got, warnings = reply(value)
            self.assertEqual((got.status, got.headers, got.body), (204, [], b""))
            self.assertEqual(warnings, [])

    def test_anything_else_gets_the_default_reply(self):
        for value in (None, "text", 5, [1], object()):
            self.assertEqual(reply(value), (None, []))

    def test_ints_of_other_classes_are_statuses(self):
        self.assertIs(type(reply(dict(status_code=http.HTTPStatus.CREATED, body=""))[0].status), int)

    def test_bytes_are_a_body(self):
        self.assertEqual(reply(dict(status_code=200, body=b"\xff\x00"))[0].body, b"\xff\x00")

    def test_repeated_headers(self):
        got, warnings = reply(dict(status_code=200, body="", headers={"Set-Cookie": ["a=1", "b=2"]}))
        self.assertEqual(got.headers, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        self.assertEqual(warnings, [])


class Malformed(unittest.TestCase):
    """Never a failure: the default body, the given status if it is valid, a warning."""

    def check(self, value, status, *keys):
        got, warnings = reply(value)
        self.assertEqual(got.status, status)
        self.assertIsNone(got.body)
        self.assertEqual(len(warnings), len(keys))
        for warning, key in zip(warnings, keys):
            self.assertIn(f"'{key}'", warning)

    def test_without_body(self):
        self.check(dict(status_code=202), 202, "body")

    def test_with_a_body_of_another_type(self):
        self.check(dict(status_code=202, body={"a": 1}), 202, "body")
        self.check(dict(status_code=202, body=None), 202, "body")
        self.check(dict(status_code=202, body=5), 202, "body")
        self.assertIn("json.dumps", reply(dict(status_code=202, body={}))[1][0])

    def test_without_a_usable_status(self):
        for status in ("201", 201.0, None, True):
            self.check(dict(status_code=status, body="x"), 200, "status_code")
        for status in (0, 99, 100, 199, 600, -1, 10**30):
            self.check(dict(status_code=status, body="x"), 200, "status_code")
        self.check(dict(body="x"), 200, "status_code")

    def test_without_both(self):
        self.check({}, 200, "status_code", "body")
        self.check({"message": "hello"}, 200, "status_code", "body")


class Headers(unittest.TestCase):
    """A header that is no good is left out; the rest of the reply stands."""

    def check(self, headers, left, pattern):
        got, warnings = reply(dict(status_code=200, body="x", headers=headers))
        self.assertEqual((got.status, got.body, got.headers), (200, b"x", left))
        self.assertEqual(len(warnings), 1)
        self.assertRegex(warnings[0], pattern)

    def test_wrong_types(self):
        self.check("Content-Type: text/plain", [], "'headers' must be a dict, not a str")
        self.check({"X-A": None}, [], "'X-A' must be a str, not None")
        self.check({"X-A": {"a": 1}}, [], "'X-A' must be a str, not a dict")
        self.check({"X-A": True}, [], "'X-A' must be a str, not a bool")
        self.check({5: "x"}, [], "name that is not valid")

    def test_numbers_are_sent(self):
        self.check({"Retry-After": 120}, [("Retry-After", "120")], "sent as '120'")

    def test_line_breaks(self):
        self.check({"X-A": "1\r\nX-B: 2"}, [], "'X-A' has a line break")
        self.check({"X-A": "1\n", "X-B": "2"}, [("X-B", "2")], "'X-A' has a line break")
        self.check({"X-A\r\nX-B": "2"}, [], "name that is not valid")
        self.check({"": "2"}, [], "name that is not valid")

    def test_ten_thousand(self):
        got, warnings = reply(
            dict(status_code=200, body="", headers={f"X-{n}": "v" for n in range(10_000)})
        )
        self.assertEqual((len(got.headers), warnings), (10_000, []))


class Values(unittest.TestCase):
    """For a pull the return value is kept in the run's record."""

    def value(self, value):
        warnings = []
        return outcome.as_json(value, warnings.append), warnings

    def test_json(self):
        self.assertEqual(self.value({"a": [1, "é"]}), ('{"a": [1, "é"]}', []))
        self.assertEqual(self.value(None), (None, []))
        self.assertEqual(self.value(0), ("0", []))

    def test_what_is_not_json_is_told_by_its_repr(self):
        for value in ({1, 2}, float("nan"), "\ud800", {"a": object()}):
            text, warnings = self.value(value)
            self.assertEqual(json.loads(text), repr(value))
            self.assertIn("is not JSON", warnings[0])

    def test_values_nested_too_deeply(self):
        value = []
        for _ in range(5_000):
            value = [value]
        text, warnings = self.value(value)
        self.assertIn("<list object at", text)
        self.assertEqual(len(warnings), 1)

    def test_values_that_cannot_be_shown(self):
        class Odd:
            def __repr__(self):
                return 1 / 0

        self.assertIn("repr() failed: ZeroDivisionError", self.value(Odd())[0])

    def test_long_reprs_are_cut(self):
        text, _ = self.value({"a" * 50_000, 1})
        self.assertLess(len(text), 11_000)
        self.assertIn("characters left out", text)


if __name__ == "__main__":
    unittest.main()
