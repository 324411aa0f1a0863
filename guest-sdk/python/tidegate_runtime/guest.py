"""What both worlds share: the host's types and functions around a run."""

from componentize_py_types import Err
from wit_world.imports import log, settings, tidegate_workflow_types as types

from . import runner
from .settings import SettingsError
from .trace import Failure


def run(load, trigger, pairs):
    """Runs a program for the host. `load` executes it and returns its module."""
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


def _warn(line):
    log.emit(log.Level.WARNING, line, [])
