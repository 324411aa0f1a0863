"""What both worlds share: the host's types and functions around a run."""

import os
import sys
import traceback

from componentize_py_types import Err
from wit_world.imports import log, settings
from wit_world.imports import tidegate_workflow_types as types

from . import runlog, runner
from .sandbox.volume import TMP
from .settings import SettingsError
from .trace import Failure

# As `os.environ` keeps them. Set there directly: the way through libc's environment, which
# nobody reads here, takes longer than the import of a small program.
_HOME, _TMP = os.environ.encodekey("HOME"), os.environ.encodevalue(TMP)

_LEVELS = {level.name.lower(): level for level in log.Level}


def begin_log():
    """Sends what programs log to the run's log."""
    runlog.install(_emit)


def run(file, load, trigger, pairs):
    """Runs a program for the host.

    `file` is its name, `load` executes it and returns its module.
    """
    sys.argv = [file]
    # requests looks for the user's .netrc with each request: a home that is known spares
    # it the search for a database of users. Instances start with the host's environment.
    os.environ._data[_HOME] = _TMP
    request = None
    if isinstance(trigger, types.Trigger_Catch):
        got = trigger.value
        request = (got.method, got.path_with_query, got.headers, got.body)
    try:
        outcome = runner.run(
            load, request, [(pair.name, pair.value) for pair in pairs], _commit, _warn
        )
    except Failure as failure:
        raise Err(types.Failure(failure.message, failure.trace)) from None
    except Exception as error:
        # Ours to mend, and still a failed run rather than a trap.
        message = f"the Python runtime failed: {error!r}"
        raise Err(types.Failure(message, traceback.format_exc())) from None
    reply = outcome.reply
    return types.Outcome(
        reply and types.Reply(reply.status, reply.headers, reply.body),
        outcome.value,
        _changes(outcome.changes),
    )


def _changes(changes):
    return [types.Change(name, text) for name, text in changes]


def _commit(changes):
    try:
        settings.commit(_changes(changes))
    except Err as error:
        raise SettingsError(f"settings cannot be saved: {error.value.value}") from None


def _emit(level, message, fields):
    log.emit(_LEVELS[level], message, fields)


def _warn(line):
    log.emit(log.Level.WARNING, line, [])
