"""The world `runtime`: a component that is handed programs.

componentize-py imports this module, runs it up to its end, and keeps the memory that
it leaves as the image from which every instance starts.
"""

from . import snapshot

snapshot.begin()

import platform

import wit_world
from componentize_py_types import Err
from wit_world.imports import program as host_program

from . import diagnostics, guest, program, warmup

_LANGUAGE = "python"


class WitWorld(wit_world.WitWorld):
    """The functions that the host calls, each in a fresh instance."""

    def describe(self):
        return wit_world.Description(
            _LANGUAGE, platform.python_version(), snapshot.packages()
        )

    def compile(self, file, source):
        try:
            return wit_world.Code(file, program.compile_source(file, source))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            finding = diagnostics.of_syntax(file, error, source)
            raise Err([_diagnostic(finding)]) from None

    def check(self, code, kind):
        try:
            module = _load(code)
        except program.ProgramError as error:
            found = diagnostics.of_program(code.file, error, host_program.source)
        except BaseException as error:
            found = diagnostics.of_import(
                code.file, error, host_program.source, snapshot.importable
            )
        else:
            found = _check_function(module, code, kind)
        return [_diagnostic(found)] if found else []

    def run(self, code, trigger, settings):
        return guest.run(code.file, lambda: _load(code), trigger, settings)


def _load(code):
    compiled = program.load_code(code.bytes)
    module = program.new_module(code.file, host_program.source)
    exec(compiled, module.__dict__)
    return module


def _check_function(module, code, kind):
    name = "catch" if kind is wit_world.Kind.CATCH else "pull"
    try:
        program.check_annotations(module)
        program.check_entry(module, name)
    except program.ProgramError as error:
        return diagnostics.of_program(code.file, error, host_program.source)
    except NameError as error:
        return diagnostics.of_import(
            code.file, error, host_program.source, snapshot.importable
        )
    return None


def _diagnostic(found):
    return wit_world.Diagnostic(
        found.file, found.line, found.column, found.message, found.text, found.hint
    )


def _start(source):
    """A sample program for the warm-up, from source to what runs it."""
    world = WitWorld()
    code = world.compile("warm.py", source)
    return lambda trigger, settings: world.run(code, trigger, settings)


def _warm():
    real, host_program.source = host_program.source, lambda: ""
    try:
        warmup.run(_start)
    finally:
        host_program.source = real


guest.begin_log()
snapshot.end(_warm, {})
