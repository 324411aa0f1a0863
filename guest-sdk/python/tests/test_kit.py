"""The test kit calls workflows as the sandbox does."""

import json
import tempfile
import unittest
import warnings
from pathlib import Path

import tidegate
from tidegate_runtime.body import BodyError
from tidegate_runtime.program import ProgramError
from tidegate_runtime.settings import SettingsError


class Catching(unittest.TestCase):
    def test_reply_and_settings(self):
        def workflow(_request, settings):
            settings["N"] = settings["N"] + len(_request["name"])
            del settings["OLD"]
            return dict(status_code=201, body=json.dumps({"agent": _request["USER-AGENT"]}))

        run = tidegate.catch(workflow, {"name": "ann"}, headers={"User-Agent": "t"}, settings={"N": 1, "OLD": 2})
        self.assertEqual((run.reply.status, run.reply.json()), (201, {"agent": "t"}))
        self.assertEqual(run.changes, {"N": 4, "OLD": None})
        self.assertEqual(run.settings, {"N": 4})

    def test_kinds_of_bodies(self):
        def workflow(_request, settings):
            return dict(status_code=200, body=json.dumps([_request.get("a"), _request.raw.decode()]))

        def reply(*arguments, **options):
            return tidegate.catch(workflow, *arguments, **options).reply.json()

        self.assertEqual(reply({"a": 1}), [1, '{"a": 1}'])
        self.assertEqual(reply({"a": [1, 2]}, content_type=tidegate.calls.FORM), [["1", "2"], "a=1&a=2"])
        self.assertEqual(reply("raw text", content_type="text/plain"), [None, "raw text"])
        self.assertEqual(reply(b'{"a": 1.10}', content_type="application/json"), [1.1, '{"a": 1.10}'])
        self.assertEqual(reply(), [None, ""])

    def test_number_text_is_kept_for_the_call_only(self):
        def workflow(_request, settings):
            return dict(status_code=200, body=json.dumps({"a": _request["a"]}))

        run = tidegate.catch(workflow, '{"a": 1.10}', content_type="application/json")
        self.assertEqual(run.reply.text, '{"a": 1.10}')
        self.assertIsNotNone(json.encoder.c_make_encoder)

    def test_default_reply(self):
        run = tidegate.catch(lambda body, settings: "text")
        self.assertIsInstance(run.reply, tidegate.DefaultReply)
        self.assertEqual((run.reply.status, run.reply.json()["status"]), (200, "succeeded"))
        self.assertEqual(run.value, "text")

    def test_malformed_reply_warns(self):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run = tidegate.catch(lambda body, settings: {"status_code": 202})
        self.assertEqual((run.reply.status, run.reply.header("CONTENT-TYPE")), (202, "application/json"))
        self.assertEqual(told[0].category, tidegate.ReplyWarning)
        self.assertIn("'body'", str(told[0].message))

    def test_raises_what_the_function_raises(self):
        with self.assertRaises(KeyError):
            tidegate.catch(lambda body, settings: body["missing"], {})

    def test_refuses_what_the_host_refuses(self):
        with self.assertRaises(BodyError):
            tidegate.catch(lambda body, settings: None, "{", content_type="application/json")
        with self.assertRaises(SettingsError):
            tidegate.pull(lambda settings: settings.update(bad={1}))


class Pulling(unittest.TestCase):
    def test_value_and_early_saves(self):
        def workflow(settings):
            for settings["PAGE"] in (1, 2):
                settings.save()
            settings["DONE"] = True
            return {"pages": 2}

        run = tidegate.pull(workflow, settings={"PAGE": 0})
        self.assertEqual(run.value, {"pages": 2})
        self.assertIsNone(run.reply)
        self.assertEqual(run.saves, [{"PAGE": 1}, {"PAGE": 2}])
        self.assertEqual(run.changes, {"DONE": True})
        self.assertEqual(run.settings, {"PAGE": 2, "DONE": True})


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def test_each_call_starts_afresh(self):
        file = self.write("flow.py", "N = 0\ndef workflow(settings):\n    global N\n    N += 1\n    return N\n")
        self.assertEqual([tidegate.pull(file).value for _ in range(3)], [1, 1, 1])

    def test_form_of_the_function_is_checked(self):
        file = self.write("flow.py", "def workflow(settings): pass\n")
        with self.assertRaises(ProgramError):
            tidegate.catch(file, {})

    def test_samples(self):
        request = self.write("request.json", '{"method": "PUT", "path": "/a?b=1", "headers": {"X-A": "1"}, "body": {"n": 1}}')
        settings = self.write("settings.json", '{"KEY": "k"}')

        def workflow(_request, settings):
            return [_request.method, _request.query, _request["x-a"], _request["n"], settings["KEY"]]

        run = tidegate.catch(workflow, tidegate.read_request(request), settings=tidegate.read_settings(settings))
        self.assertEqual(run.value, ["PUT", {"b": "1"}, "1", 1, "k"])
        with self.assertRaises(ValueError):
            tidegate.read_request(self.write("odd.json", '{"url": "x"}'))
        with self.assertRaises(ValueError):
            tidegate.read_settings(self.write("odd.json", "[]"))


if __name__ == "__main__":
    unittest.main()
