"""Calls the workflow on your own Python, as a host does in its sandbox: `pytest`."""

import tidegate
from workflow import workflow


def test_goes_on_where_the_last_run_ended():
    first = tidegate.pull(workflow)
    assert first.value["from"] is None
    second = tidegate.pull(workflow, settings=first.settings)
    assert second.value["from"] == first.settings["LAST_RUN"]
