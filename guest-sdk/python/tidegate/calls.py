"""One call of a workflow."""

import inspect
import json
import sys
import warnings
from pathlib import Path
from urllib.parse import urlencode

from tidegate_runtime import jsontext, outcome, program
from tidegate_runtime.request import Request
from tidegate_runtime.settings import Settings

from .reply import DefaultReply, Reply, ReplyWarning
from .samples import Sample

FORM = "application/x-www-form-urlencoded"


class Run:
    """What a call left behind.

    `value` is what the function returned; `reply` what the caller of a catch gets, and
    `None` for a pull. `settings` are the settings afterwards, `changes` those that were
    set (name to value) or deleted (name to `None`), `saves` the changes of each early
    `settings.save()`.
    """

    def __init__(self, value, reply, settings, changes, saves):
        self.value = value
        self.reply = reply
        self.settings = settings
        self.changes = changes
        self.saves = saves


def catch(workflow, body=None, *, headers=None, content_type=None, method="POST", path="/",
          settings=None):  # fmt: skip
    """Calls a catch workflow with a request.

    `workflow` is the function, or the path of its file, which is then executed afresh for
    this call. `body` is bytes or a str to send as it is, anything else goes as JSON, or as
    a form where `content_type` says so; it may be a `Sample`, too. Raises what the
    function raises, and `ValueError` for a body that the host would refuse.
    """
    sample = body if isinstance(body, Sample) else Sample(body, headers, method, path)
    sent = {name.lower(): value for name, value in sample.headers.items()}
    if content_type is not None or isinstance(sample.body, (dict, list)):
        sent.setdefault("content-type", content_type or "application/json")
    raw = _encode(sample.body, sent.get("content-type", ""))
    try:
        request = Request(sample.method, sample.path, list(sent.items()), raw)
        return _call("catch", workflow, (request,), settings)
    finally:
        jsontext.restore()


def pull(workflow, *, settings=None):
    """Calls a pull workflow, as `catch` calls a catch workflow."""
    return _call("pull", workflow, (), settings)


def _call(kind, workflow, arguments, settings):
    saves = []
    pairs = [(name, json.dumps(value)) for name, value in (settings or {}).items()]
    kept = Settings(pairs, lambda changes: saves.append(_values(changes)))
    function = _function(workflow, kind)
    value = function(*arguments, kept)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("'workflow' is a coroutine function: call asyncio.run(...) in it")
    changes = _values(kept.changes())
    # A run that could not be recorded would fail, so that this one fails, too.
    json.dumps(dict(kept), allow_nan=False)
    return Run(value, _reply(value) if kind == "catch" else None, dict(kept), changes, saves)


def _function(workflow, kind):
    if callable(workflow):
        return workflow
    file = Path(workflow)
    source = file.read_bytes().decode("utf-8-sig")
    module = program.new_module(str(file), lambda: source)
    try:
        exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)
        program.check_entry(module, kind)
    finally:
        sys.modules.pop(module.__name__, None)
    return module.workflow


def _reply(value):
    def warn(text):
        warnings.warn(text, ReplyWarning, stacklevel=5)

    found = outcome.reply(value, warn)
    if found is None:
        return DefaultReply()
    if found.body is None:
        return DefaultReply(found.status, found.headers)
    return Reply(found.status, found.headers, found.body)


def _encode(body, content_type):
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8")
    if content_type.startswith(FORM):
        return urlencode(body, doseq=True).encode("ascii")
    return json.dumps(body).encode("utf-8")


def _values(changes):
    return {name: None if text is None else json.loads(text) for name, text in changes}
