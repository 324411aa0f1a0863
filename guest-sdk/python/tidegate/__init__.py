"""Calls workflows as Tidegate does, on plain CPython: for tests and for a debugger.

    import tidegate
    from workflow import workflow

    def test_greets():
        run = tidegate.catch(workflow, {"name": "Ann"}, settings={"GREETING": "Hi"})
        assert run.reply.status == 200
        assert run.reply.json() == {"greeting": "Hi, Ann!"}
        assert run.changes == {"CALLS": 1}

`_request`, `settings` and the rules for what is returned are the very code that runs in
the sandbox. What the function raises is raised. Network, files and threads are those of
this machine: the sandbox itself is in ``tidegate run``.
"""

from .calls import Run, catch, pull
from .reply import DefaultReply, Reply, ReplyWarning
from .samples import Sample, read_request, read_settings

__all__ = [
    "DefaultReply",
    "Reply",
    "ReplyWarning",
    "Run",
    "Sample",
    "catch",
    "pull",
    "read_request",
    "read_settings",
]
