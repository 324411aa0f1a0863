"""One run: a trigger and settings in, an outcome out."""

import sys
import types

from . import outcome, program, trace
from .body import BodyError
from .request import Request
from .settings import Settings, SettingsError


class Outcome:
    """What a run leaves behind.

    `reply` is an `outcome.Reply` or `None` for the host's default, `value` JSON text or
    `None`, `changes` pairs of setting name and JSON text.
    """

    __slots__ = ("reply", "value", "changes")

    def __init__(self, reply, value, changes):
        self.reply = reply
        self.value = value
        self.changes = changes


def run(load, request, settings, commit, warn):
    """Runs a program once and returns its `Outcome`. Raises `trace.Failure`.

    `load` executes the program and returns its module. `request` is the arguments of
    `Request`, or `None` for a pull. `settings` are pairs of name and JSON text, `commit`
    saves changes of them at once, `warn` takes a line for the run's log.
    """
    try:
        event = None if request is None else Request(*request)
    except BodyError as error:
        raise trace.Failure(str(error)) from None
    kept = Settings(settings, commit)
    kind = "pull" if event is None else "catch"
    try:
        function = program.entry(load(), kind)
        value = function(kept) if event is None else function(event, kept)
    except program.ProgramError as error:
        raise trace.Failure(str(error)) from None
    except BaseException as error:
        raise trace.failure(error) from None
    finally:
        _flush()
    if isinstance(value, types.CoroutineType):
        value.close()
        raise trace.Failure(
            "'workflow' is a coroutine function: define it with 'def' and call "
            "asyncio.run(...) in it"
        )
    try:
        changes = kept.changes()
    except SettingsError as error:
        raise trace.Failure(f"SettingsError: {error}") from None
    if event is None:
        return Outcome(None, outcome.as_json(value, warn), changes)
    reply = outcome.reply(value, warn)
    return Outcome(reply, outcome.as_json(value, warn) if reply is None else None, changes)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # The workflow closed or replaced it: what it wrote there is its own affair.
            continue
