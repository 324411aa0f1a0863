"""`settings`, rule by rule."""

import copy
import datetime
import json
import unittest

from tidegate_runtime.settings import Settings, SettingsError


def settings(commit=None, **values):
    pairs = [(name, json.dumps(value)) for name, value in values.items()]
    return Settings(pairs, commit or (lambda changes: None))


class Reading(unittest.TestCase):
    def test_is_a_dict_of_json_values(self):
        got = settings(a="text", b=[1, 2.5, True, None], _c={"d": 1})
        self.assertIsInstance(got, dict)
        self.assertEqual(got, {"a": "text", "b": [1, 2.5, True, None], "_c": {"d": 1}})
        self.assertEqual(json.loads(json.dumps(got)), dict(got))

    def test_copy_is_a_plain_dict(self):
        got = settings(a=[1])
        for made in (got.copy(), copy.copy(got), copy.deepcopy(got)):
            self.assertIs(type(made), dict)
            self.assertEqual(made, {"a": [1]})


class Changes(unittest.TestCase):
    """Only changed keys are written, set or deleted."""

    def test_untouched_is_unchanged(self):
        self.assertEqual(settings(a=1, b={"x": [1.5]}).changes(), [])

    def test_another_spelling_of_the_same_value_is_unchanged(self):
        got = Settings([("a", '{ "x" : "\\u00e9", "y": 1.0e1 }')], None)
        self.assertEqual(got.changes(), [])

    def test_assignment(self):
        got = settings(a=1, b=2)
        got["a"] = "new"
        got["_LAST"] = {"id": 7}
        self.assertEqual(got.changes(), [("a", '"new"'), ("_LAST", '{"id":7}')])

    def test_change_within_a_value(self):
        got = settings(a={"x": [1]})
        got["a"]["x"].append(2)
        self.assertEqual(got.changes(), [("a", '{"x":[1,2]}')])

    def test_deletion(self):
        got = settings(a=1, b=2)
        del got["a"]
        self.assertEqual(got.changes(), [("a", None)])
        got.clear()
        self.assertEqual(got.changes(), [("a", None), ("b", None)])

    def test_types_survive(self):
        got = settings(a=1, b=1, c=0)
        got.update(a=1.0, b=True, c=False)
        self.assertEqual(got.changes(), [("a", "1.0"), ("b", "true"), ("c", "false")])

    def test_text_is_not_escaped(self):
        got = settings()
        got["a"] = "é\u2028\x00"
        self.assertEqual(got.changes(), [("a", '"é\u2028\\u0000"')])


class Refusals(unittest.TestCase):
    """A value that cannot be serialised fails the run and names the key."""

    def check(self, value, pattern, key="LAST"):
        got = settings(a=1)
        got["a"] = 2
        got[key] = value
        with self.assertRaisesRegex(SettingsError, pattern):
            got.changes()

    def test_values(self):
        self.check(datetime.date(2024, 1, 2), r"settings\['LAST'\] cannot be saved: a date is not JSON")
        self.check(b"x", r"settings\['LAST'\] cannot be saved: a bytes is not JSON")
        self.check({1, 2}, r"a set is not JSON")
        self.check({"a": [0, {1}]}, r"settings\['LAST'\]\['a'\]\[1\] cannot be saved: a set is not JSON")
        self.check(float("nan"), r"JSON has no nan")
        self.check([float("inf")], r"settings\['LAST'\]\[0\] cannot be saved: JSON has no inf")
        self.check({(1, 2): 3}, r"its key \(1, 2\) is not a string")
        self.check("\ud800", r"half of a surrogate pair")

    def test_values_that_hold_themselves(self):
        value = []
        value.append(value)
        self.check(value, r"settings\['LAST'\] cannot be saved: it is nested too deeply")


    def test_values_that_hold_others_twice_are_no_matter(self):
        got = settings()
        shared = {"x": [1]}
        got["a"] = [shared, shared, {"y": shared}]
        self.assertEqual(got.changes(), [("a", '[{"x":[1]},{"x":[1]},{"y":{"x":[1]}}]')])

    def test_values_nested_too_deeply(self):
        value = []
        for _ in range(100_000):
            value = [value]
        self.check(value, "nested too deeply")

    def test_keys(self):
        self.check(1, r"the key 5 is not a string", key=5)
        self.check(1, r"the key None is not a string", key=None)


class Saving(unittest.TestCase):
    """`settings.save()` commits early."""

    def test_commits_what_changed_so_far(self):
        commits = []
        got = settings(commits.append, cursor=0, other=1)
        got["cursor"] = 1
        got.save()
        got.save()
        got["cursor"] = 2
        del got["other"]
        self.assertEqual(commits, [[("cursor", "1")]])
        self.assertEqual(got.changes(), [("cursor", "2"), ("other", None)])
        got.save()
        self.assertEqual(commits[1], [("cursor", "2"), ("other", None)])
        self.assertEqual(got.changes(), [])

    def test_refused_commit_leaves_the_changes(self):
        def refuse(changes):
            raise SettingsError("settings cannot be saved: this is a test run")

        got = settings(refuse, a=1)
        got["a"] = 2
        with self.assertRaisesRegex(SettingsError, "test run"):
            got.save()
        self.assertEqual(got.changes(), [("a", "2")])


if __name__ == "__main__":
    unittest.main()
