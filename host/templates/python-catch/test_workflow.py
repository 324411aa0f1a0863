"""Calls the workflow on your own Python, as a host does in its sandbox: `pytest`."""

from pathlib import Path

import tidegate
from workflow import workflow

HERE = Path(__file__).parent


def test_greets():
    request = tidegate.read_request(HERE / "request.json")
    settings = tidegate.read_settings(HERE / "settings.json")
    run = tidegate.catch(workflow, request, settings=settings)
    assert run.reply.status == 200
    assert run.reply.json() == {"greeting": "Good morning, Ada!"}
    assert run.changes == {"CALLS": 1}


def test_counts_from_run_to_run():
    first = tidegate.catch(workflow, {"name": "Grace"})
    second = tidegate.catch(workflow, {"name": "Grace"}, settings=first.settings)
    assert second.settings["CALLS"] == 2
