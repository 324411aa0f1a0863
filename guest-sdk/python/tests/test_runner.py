"""One run, from trigger to outcome or failure."""

import contextlib
import io
import json
import logging
import sys
import unittest

from tidegate_runtime import program, runlog, runner, trace

CATCH = ("POST", "/catch/k", [("content-type", "application/json")], b'{"name": "bob"}')


def run(source, request=CATCH, settings=(), commit=None, warn=None, file="flow.py"):
    """Runs a program as the guest does."""

    def load():
        module = program.new_module(file, lambda: source)
        exec(program.load_code(program.compile_source(file, source)), module.__dict__)
        return module

    pairs = [(name, json.dumps(value)) for name, value in dict(settings).items()]
    try:
        return runner.run(load, request, pairs, commit or (lambda changes: None), warn or (lambda line: None))
    finally:
        sys.modules.pop("flow", None)


def failure(source, **options):
    """The failure of a program that must fail."""
    try:
        run(source, **options)
    except trace.Failure as failed:
        return failed
    raise AssertionError("it did not fail")


class Outcomes(unittest.TestCase):
    def test_catch(self):
        got = run("def workflow(body, settings):\n    return dict(status_code=201, body=body['name'])")
        self.assertEqual((got.reply.status, got.reply.body, got.value), (201, b"bob", None))

    def test_catch_without_reply(self):
        got = run("def workflow(_request, settings):\n    return [1]")
        self.assertIsNone(got.reply)
        self.assertEqual(got.value, "[1]")

    def test_pull_keeps_its_value(self):
        got = run("def workflow(settings):\n    return {'status_code': 1, 'n': 2}", request=None)
        self.assertIsNone(got.reply)
        self.assertEqual(got.value, '{"status_code": 1, "n": 2}')

    def test_settings_changed(self):
        source = "def workflow(settings):\n    settings['N'] += 1\n    del settings['OLD']"
        got = run(source, request=None, settings={"N": 1, "OLD": 2, "SAME": 3})
        self.assertEqual(got.changes, [("N", "2"), ("OLD", None)])

    def test_early_save(self):
        commits = []
        source = "def workflow(settings):\n    settings['N'] = 1\n    settings.save()\n    1 / 0"
        failed = failure(source, request=None, commit=commits.append)
        self.assertEqual(commits, [[("N", "1")]])
        self.assertIn("ZeroDivisionError", failed.message)

    def test_warning_for_a_malformed_reply(self):
        warnings = []
        run("def workflow(a, b):\n    return {'status_code': 201}", warn=warnings.append)
        self.assertEqual(len(warnings), 1)


class Failures(unittest.TestCase):
    def test_message_and_traceback(self):
        source = "import json\n\ndef inner(value):\n    return value['profile']\n\ndef workflow(a, b):\n    return inner({})\n"
        failed = failure(source)
        self.assertEqual(failed.message, "KeyError: 'profile'")
        lines = failed.trace.splitlines()
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertEqual(lines[1], '  File "flow.py", line 7, in workflow')
        self.assertEqual(lines[2], "    return inner({})")
        self.assertIn('  File "flow.py", line 4, in inner', lines)
        self.assertEqual(lines[-1], "KeyError: 'profile'")

    def test_no_frame_of_ours_in_causes(self):
        source = (
            "def workflow(a, settings):\n"
            "    settings['x'] = {1}\n"
            "    try:\n        settings.save()\n"
            "    except ValueError as error:\n        raise RuntimeError('again') from error\n"
        )
        failed = failure(source)
        self.assertIn("SettingsError: settings['x'] cannot be saved", failed.trace)
        self.assertIn("direct cause", failed.trace)
        self.assertNotIn("tidegate_runtime/", failed.trace)

    @unittest.skipUnless(sys.version_info >= (3, 11), "exception groups are new in Python 3.11")
    def test_groups(self):
        failed = failure("def workflow(a, b):\n    raise ExceptionGroup('many', [ValueError(1), KeyError(2)])")
        self.assertIn("many (2 sub-exceptions)", failed.message)
        self.assertIn("KeyError: 2", failed.trace)

    def test_exceptions_of_packages_have_their_full_name(self):
        self.assertTrue(
            failure("import json\ndef workflow(a, b): json.loads('{')").message.startswith("json.decoder.JSONDecodeError: ")
        )

    def test_messages_are_one_line_and_bounded(self):
        self.assertEqual(failure("def workflow(a, b): raise ValueError('a\\nb')").message, "ValueError: a b")
        self.assertLessEqual(len(failure("def workflow(a, b): raise ValueError('x' * 10**6)").message), trace.MESSAGE_LENGTH_MAX)
        self.assertEqual(failure("def workflow(a, b): raise ValueError('\\ud800')").message, "ValueError: ?")

    def test_exceptions_that_cannot_be_told(self):
        source = "class Odd(Exception):\n    def __str__(self): return 1 / 0\ndef workflow(a, b): raise Odd()"
        self.assertIn("str() of the Odd failed", failure(source).message)

    def test_exit(self):
        self.assertEqual(
            failure("import sys\ndef workflow(a, b): sys.exit('bye')").message,
            "SystemExit: the workflow called sys.exit('bye'): return from the function instead",
        )

    def test_recursion_without_end(self):
        failed = failure("def f(n): return f(n + 1)\ndef workflow(a, b): return f(0)")
        self.assertTrue(failed.message.startswith("RecursionError: "), failed.message)
        self.assertIn("Previous line repeated", failed.trace)
        self.assertLess(len(failed.trace), 5_000)

    def test_settings_that_cannot_be_saved(self):
        failed = failure("def workflow(a, settings): settings['LAST'] = {1}")
        self.assertIn("settings['LAST'] cannot be saved", failed.message)
        self.assertIsNone(failed.trace)

    def test_broken_body_never_reaches_the_program(self):
        request = (*CATCH[:3], b"{")
        failed = failure("raise SystemError('reached')", request=request)
        self.assertIn("not valid JSON", failed.message)
        self.assertIsNone(failed.trace)

    def test_no_function(self):
        self.assertEqual(failure("x = 1").message, "there is no function named 'workflow'")

    def test_coroutine(self):
        self.assertIn("asyncio.run", failure("async def workflow(a, b): pass").message)

    def test_exception_at_import(self):
        self.assertEqual(failure("undefined").message, "NameError: name 'undefined' is not defined")


class Logs(unittest.TestCase):
    """`logging` levels reach the run's log."""

    def setUp(self):
        self.lines = []
        runlog.install(lambda level, message, fields: self.lines.append((level, message, dict(fields))))
        self.addCleanup(runlog.uninstall)

    def log(self, source):
        run(f"import logging, sys\nlog = logging.getLogger('mine')\ndef workflow(a, b):\n    {source}")
        return [line[:2] for line in self.lines]

    def test_levels(self):
        got = self.log("log.debug('d'); log.info('i %s', 1); log.warning('w'); log.error('e'); log.critical('c')")
        self.assertEqual(got, [("info", "i 1"), ("warning", "w"), ("error", "e"), ("error", "c")])
        self.assertEqual(self.lines[0][2], {"logger": "mine", "line": "flow.py:4"})

    def test_module_functions(self):
        self.assertEqual(self.log("logging.info('a'); logging.error('b')"), [("info", "a"), ("error", "b")])

    def test_asking_for_debug(self):
        got = self.log("logging.basicConfig(level=logging.DEBUG); log.debug('d')")
        self.assertEqual(got, [("debug", "d")])

    def test_asking_for_a_format(self):
        got = self.log("logging.basicConfig(format='%(levelname)s!%(message)s'); log.warning('w')")
        self.assertEqual(got, [("warning", "WARNING!w")])

    def test_handler_of_the_programs_own(self):
        got = self.log("log.addHandler(logging.StreamHandler()); log.warning('w'); log.handlers.clear()")
        self.assertEqual(got, [("warning", "w")])

    def test_handler_for_standard_output(self):
        got = self.log("logging.basicConfig(stream=sys.__stdout__, level=logging.DEBUG); log.debug('d')")
        self.assertEqual(got, [("debug", "DEBUG:mine:d")])

    def test_handler_for_something_else(self):
        with contextlib.redirect_stderr(io.StringIO()):
            got = self.log("import io; s = io.StringIO(); log.addHandler(logging.StreamHandler(s)); log.warning('w'); assert s.getvalue() == 'w\\n'; log.handlers.clear()")
        self.assertEqual(got, [("warning", "w")])

    def test_exceptions_come_with_their_traceback(self):
        self.log("\n".join(("try: 1 / 0", "    except ZeroDivisionError: log.exception('failed')")))
        level, message, _ = self.lines[0]
        self.assertEqual(level, "error")
        self.assertTrue(message.startswith("failed\nTraceback (most recent call last):\n"))

    def test_packages_are_only_told_of_when_asked(self):
        runlog.LIBRARY_FOLDERS = (__file__,)
        self.addCleanup(setattr, runlog, "LIBRARY_FOLDERS", ())
        package = logging.getLogger("package.inner")
        self.addCleanup(logging.getLogger("package").setLevel, logging.NOTSET)
        package.info("chatter")
        package.warning("trouble")
        self.assertEqual([line[1] for line in self.lines], ["trouble"])
        logging.getLogger("package").setLevel(logging.INFO)
        package.info("asked for")
        self.assertEqual(self.lines[-1][1], "asked for")

    def test_records_that_cannot_be_formatted_do_not_fail_the_run(self):
        with contextlib.redirect_stderr(io.StringIO()) as told:
            self.assertEqual(self.log("log.warning('%d', 'x')"), [])
        self.assertIn("Logging error", told.getvalue())


if __name__ == "__main__":
    unittest.main()
