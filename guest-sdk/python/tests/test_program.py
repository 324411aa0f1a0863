"""Programs: compiling, checking, and what is said about the ones that are no good."""

import contextlib
import sys
import unittest

from tidegate_runtime import diagnostics, program


@contextlib.contextmanager
def loaded(source, file="flow.py"):
    """The executed module of a program."""
    before = set(sys.modules)
    try:
        module = program.new_module(file, lambda: source)
        exec(program.load_code(program.compile_source(file, source)), module.__dict__)
        yield module
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


class Compiling(unittest.TestCase):
    def syntax(self, source):
        try:
            program.compile_source("flow.py", source)
        except (SyntaxError, ValueError) as error:
            return diagnostics.of_syntax("flow.py", error, source)
        self.fail("it compiled")

    def test_names_file_line_column_and_text(self):
        found = self.syntax("import json\ndef workflow(a, b)\n    return 1\n")
        self.assertEqual((found.file, found.line), ("flow.py", 2))
        self.assertEqual(found.column, 19)
        self.assertEqual(found.message, "SyntaxError: expected ':'")
        self.assertEqual(found.text, "def workflow(a, b)")

    def test_indentation(self):
        found = self.syntax("def workflow(a, b):\nreturn 1\n")
        self.assertTrue(found.message.startswith("IndentationError: "), found.message)
        self.assertEqual((found.line, found.text), (2, "return 1"))

    def test_tabs_and_spaces(self):
        found = self.syntax("def f():\n\tif 1:\n        pass\n")
        self.assertTrue(found.message.startswith("TabError: "), found.message)
        self.assertEqual(found.line, 3)

    def test_null_bytes(self):
        self.assertIn("null bytes", self.syntax("a = '\0'").message)

    def test_byte_order_mark_and_line_ends(self):
        with loaded("\ufeffdef workflow(a, b):\r\n    x = 1\r\n\treturn x".replace("\t", "    ")) as module:
            self.assertEqual(module.workflow(1, 2), 1)

    def test_annotations_of_the_future_stay_the_programs(self):
        # Our own modules' __future__ statements must not reach the program.
        with loaded("def f(a: int): pass") as module:
            self.assertIs(module.f.__annotations__["a"], int)

    def test_refuses_code_of_another_runtime(self):
        for data in (b"", b"anything", program.MAGIC, program.MAGIC + b"{"):
            with self.assertRaises(program.ProgramError) as caught:
                program.load_code(data)
            self.assertEqual(caught.exception.hint, "deploy its source again")


class Modules(unittest.TestCase):
    def test_namespace_is_a_modules_and_holds_nothing_of_ours(self):
        with loaded("x = 1") as module:
            self.assertEqual(
                {name for name in vars(module) if not name.startswith("__")}, {"x"}
            )
            self.assertEqual(module.__name__, "flow")
            self.assertEqual(module.__file__, "flow.py")
            self.assertIs(sys.modules["flow"], module)
            self.assertEqual(module.__loader__.get_source("flow"), "x = 1")

    def test_file_named_like_a_library_does_not_replace_it(self):
        import json

        with loaded("import json\nx = json.dumps", file="json.py") as module:
            self.assertEqual(module.__name__, "workflow")
            self.assertIs(module.x, json.dumps)

    def test_classes_can_be_found_by_their_module(self):
        source = (
            "import dataclasses, pickle, typing\n"
            "@dataclasses.dataclass\nclass A:\n    x: int\n"
            "copy = pickle.loads(pickle.dumps(A(1)))\nhints = typing.get_type_hints(A)\n"
        )
        with loaded(source) as module:
            self.assertEqual(module.copy, module.A(1))
            self.assertEqual(module.hints, {"x": int})

    def test_main_block_does_not_run(self):
        with loaded("x = 1\nif __name__ == '__main__':\n    x = 2\n") as module:
            self.assertEqual(module.x, 1)


class Forms(unittest.TestCase):
    """The function must have the form that the workflow's kind needs."""

    def problem(self, source, kind):
        with loaded(source) as module:
            try:
                program.check_entry(module, kind)
            except program.ProgramError as error:
                return error
        return None

    def test_both_kinds(self):
        self.assertIsNone(self.problem("def workflow(_request, settings): pass", "catch"))
        self.assertIsNone(self.problem("def workflow(body, settings, x=1): pass", "catch"))
        self.assertIsNone(self.problem("def workflow(settings): pass", "pull"))
        self.assertIsNone(self.problem("def workflow(*args): pass", "pull"))
        self.assertIsNone(self.problem("workflow = lambda a, b: None", "catch"))
        self.assertIsNone(self.problem("import functools\nworkflow = functools.partial(print, 1)", "catch"))

    def test_no_function(self):
        error = self.problem("def other(a, b): pass", "catch")
        self.assertEqual(str(error), "there is no function named 'workflow'")
        self.assertEqual(error.hint, "define def workflow(_request, settings):")
        self.assertIn("is an int, not a function", str(self.problem("workflow = 5", "pull")))

    def test_number_of_parameters(self):
        error = self.problem("x = 1\ndef workflow(settings: dict): pass", "catch")
        self.assertEqual(
            str(error),
            "a catch workflow is called with 2 arguments (_request, settings), "
            "and this one is workflow(settings)",
        )
        self.assertEqual(error.line, 2)
        self.assertIn("deploy it as a pull", error.hint)
        error = self.problem("def workflow(_request, settings): pass", "pull")
        self.assertIn("deploy it as a catch", error.hint)
        error = self.problem("def workflow(a, b, c): pass", "pull")
        self.assertEqual(error.hint, "define def workflow(settings):")

    def test_functions_that_would_not_run(self):
        error = self.problem("async def workflow(a, b): pass", "catch")
        self.assertIn("coroutine function", str(error))
        self.assertIn("asyncio.run", error.hint)
        self.assertIn("generator", str(self.problem("def workflow(s):\n    yield 1", "pull")))


class Imports(unittest.TestCase):
    """A module that fails at import is reported with file, line and message."""

    NAMES = ("requests", "json", "hrflow", "urllib3")

    def finding(self, source):
        try:
            with loaded(source):
                pass
        except BaseException as error:
            return diagnostics.of_import("flow.py", error, lambda: source, lambda: self.NAMES)
        self.fail("it ran")

    def test_exception_at_top_level(self):
        found = self.finding("import json\n\nx = json.loads('{')\n")
        self.assertEqual((found.file, found.line, found.text), ("flow.py", 3, "x = json.loads('{')"))
        self.assertIn("JSONDecodeError: ", found.message)

    def test_deepest_line_of_the_program_is_named(self):
        found = self.finding("def f():\n    return undefined\n\nf()\n")
        self.assertEqual((found.line, found.text), (2, "    return undefined"))
        self.assertEqual(found.message, "NameError: name 'undefined' is not defined")
        if sys.version_info >= (3, 11):
            self.assertEqual(found.column, 12)

    def test_missing_modules(self):
        self.assertEqual(self.finding("import reqests").hint, "did you mean 'requests'?")
        self.assertIn("tidegate runtime build", self.finding("import zzzqqq").hint)
        self.assertEqual(self.finding("import json.nothing").hint, "'json' is here, but has no module 'json.nothing'")

    def test_exit_at_import(self):
        found = self.finding("import sys\nsys.exit(3)")
        self.assertEqual(found.message, "SystemExit: the workflow called sys.exit(3): return from the function instead")
        self.assertEqual(found.line, 2)

    def test_annotations_that_name_nothing(self):
        # CPython 3.14 looks at them when it is asked to, older ones while they import.
        with self.assertRaisesRegex(NameError, "'Dict'"):
            with loaded("def workflow(_request: Dict, settings): pass") as module:
                program.check_annotations(module)


if __name__ == "__main__":
    unittest.main()
