"""An exception as a message and a traceback in which none of our frames shows."""

import os
import traceback

from .text import encodable, shorten

#: Longest message and traceback, in characters.
MESSAGE_LENGTH_MAX = 2_000
TRACE_LENGTH_MAX = 64 * 1024

#: Folders whose frames are ours. `snapshot` adds those of the generated bindings.
OWN_FOLDERS = [os.path.dirname(os.path.abspath(__file__)) + os.sep]


class Failure(Exception):
    """A run that failed, in words for the run's record.

    `message` is one line. `trace` is the traceback, or `None` where there is nothing
    to trace: the workflow's code was not at fault, or not reached.
    """

    def __init__(self, message, trace=None):
        super().__init__(message)
        self.message = message
        self.trace = trace


def failure(error):
    """The `Failure` that tells of the exception `error`."""
    try:
        return Failure(message(error), trace(error))
    except (MemoryError, RecursionError):
        return Failure(type(error).__name__)


def message(error):
    """One line: the exception's type and what it says."""
    if isinstance(error, SystemExit):
        called = getattr(error, "called", f"sys.exit({error.code!r})")
        said = f"the workflow called {called}: return from the function instead"
    else:
        said = _text(error)
    kind = type(error)
    module = kind.__module__
    name = kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    line = f"{name}: {said}" if said else name
    return encodable(shorten(" ".join(line.split("\n")), MESSAGE_LENGTH_MAX))


def trace(error):
    """The traceback as Python prints it, without our frames."""
    told = traceback.TracebackException.from_exception(error)
    _strip(told, set())
    return encodable(shorten("".join(told.format()), TRACE_LENGTH_MAX))


def hide_own_frames():
    """Leaves our frames out of every traceback that this process prints or logs."""
    walk = traceback._walk_tb_with_full_positions

    def walk_user_frames(position):
        for found in walk(position):
            if not is_own(found[0].f_code.co_filename):
                yield found

    traceback._walk_tb_with_full_positions = walk_user_frames


def is_own(file):
    """Whether code of the file named `file` is ours and not the user's."""
    return file.startswith(tuple(OWN_FOLDERS))


def _strip(told, seen):
    """Takes our frames out of an exception, its causes and its members."""
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if not is_own(frame.filename)]
    )
    _strip(told.__cause__, seen)
    _strip(told.__context__, seen)
    for member in getattr(told, "exceptions", None) or ():
        _strip(member, seen)


def _text(error):
    try:
        return str(error)
    except Exception:
        return f"<str() of the {type(error).__name__} failed>"
