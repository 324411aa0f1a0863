"""What is wrong with a program, for the person who deploys it."""

import difflib
import re
import sys
import typing

from . import trace


#: Modules that people import often, and whose packages hold native code.
NATIVE = frozenset(
    "numpy pandas scipy sklearn matplotlib PIL cv2 torch tensorflow lxml cryptography OpenSSL "
    "psycopg2 MySQLdb pymssql pyodbc cx_Oracle oracledb bcrypt nacl grpc orjson ujson "
    "pydantic_core fitz pyarrow polars gevent greenlet uvloop zmq".split()
)


ONLY_DEFINES = "the top level of a workflow only defines things"


class Diagnostic:
    """One finding.

    `line` and `column` count from 1 and are 0 where they are unknown. `text` is the
    line itself, `hint` what to do; either may be `None`.
    """

    __slots__ = ("file", "line", "column", "message", "text", "hint")

    def __init__(self, file, line=0, column=0, message="", text=None, hint=None):
        self.file = file
        self.line = line
        self.column = column
        self.message = message
        self.text = text
        self.hint = hint


def of_syntax(file, error, source):
    """The finding for what `compile` raised."""
    if not isinstance(error, SyntaxError):
        # A ValueError for null bytes, a MemoryError or RecursionError for odd nesting.
        return Diagnostic(file, message=trace.message(error))
    line = error.lineno or 0
    return Diagnostic(
        file,
        line,
        max(error.offset or 0, 0),
        f"{type(error).__name__}: {error.msg}",
        _line_of(source, line),
        _hint_of_syntax(error, _line_of(source, line) or ""),
    )


def of_import(file, error, source, importable):
    """The finding for an exception at the program's top level.

    `source` is a function that returns the source, `importable` one that returns the
    names of the modules that a program can import.
    """
    line = column = 0
    position = error.__traceback__
    while position is not None:
        if position.tb_frame.f_code.co_filename == file:
            line = position.tb_lineno
            column = _column(position)
        position = position.tb_next
    return Diagnostic(
        file,
        line,
        column,
        trace.message(error),
        _line_of(source(), line) if line else None,
        _hint_of_import(error, importable),
    )


#: ``status_code: 201`` where ``status_code=201`` is meant.
_COLON_IN_CALL = re.compile(r"\s*(\w+)\s*:\s*([\w.\"']+)")


def _hint_of_syntax(error, text):
    found = _COLON_IN_CALL.match(text)
    if error.msg == "invalid syntax" and found and (error.offset or 0) - 1 == text.find(":"):
        return f"in a call it is {found[1]}={found[2]}"
    return None


def _hint_of_import(error, importable):
    if isinstance(error, SystemExit):
        return ONLY_DEFINES
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_module(error.name, importable())
    if isinstance(error, ImportError) and getattr(error, "name_from", None):
        return _near(error.name_from, vars(sys.modules.get(error.name, object)))
    if isinstance(error, NameError) and error.name:
        if error.name in typing.__all__:
            return f"add: from typing import {error.name}"
        return f"add: import {error.name}" if error.name in importable() else None
    if _is_refused(error):
        return f"there is no network while it is deployed: {ONLY_DEFINES}"
    return None


def _is_refused(error):
    """Whether a request that could not leave the sandbox is behind an exception."""
    while error is not None:
        if isinstance(error, PermissionError) and "egress policy" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _near(name, names):
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.75)
    return f"did you mean {' or '.join(repr(found) for found in near)}?" if near else None


def of_program(file, error, source):
    """The finding for a `ProgramError`."""
    text = _line_of(source(), error.line) if error.line else None
    return Diagnostic(file, error.line, 0, str(error), text, error.hint)


def missing_module(name, importable, otherwise=None):
    """What to do about a module that is not there.

    `importable` holds the names of all top-level modules that are; `otherwise` is said
    when nothing is known of the module.
    """
    top = name.partition(".")[0]
    if top in importable:
        return f"{top!r} is here, but has no module {name!r}"
    if top in NATIVE:
        return f"{top!r} holds native code, which cannot run in this sandbox"
    near = _near(top, importable)
    if near:
        return near
    if top in sys.stdlib_module_names:
        return f"{top!r} of the standard library cannot work in this sandbox"
    return otherwise or (
        f"this runtime has no {top!r}: build one that has it with "
        "'tidegate runtime build', or deploy a folder with its own requirements.txt"
    )


def _line_of(source, number):
    lines = source.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else None


def _column(position):
    """The column at which a traceback's entry starts, from 1; 0 when unknown."""
    code = position.tb_frame.f_code
    if not hasattr(code, "co_positions"):  # CPython 3.10
        return 0
    for index, (_, _, column, _) in enumerate(code.co_positions()):
        if index == position.tb_lasti // 2:
            return 0 if column is None else column + 1
    return 0
