"""Runs once for each HTTP request at the workflow's URL, in a fresh sandbox."""

import json


def workflow(_request: dict, settings: dict) -> dict:
    """Answers one request.

    `_request` is the parsed body together with the request's headers. `settings` holds
    what `tidegate settings` sets; what is assigned to it is saved when the run succeeds.
    """
    name = _request.get("name", "world")
    settings["CALLS"] = settings.get("CALLS", 0) + 1
    print(f"call {settings['CALLS']}: greeting {name}")
    greeting = settings.get("GREETING", "Hello")
    return dict(
        status_code=200,
        headers={"Content-Type": "application/json"},
        body=json.dumps({"greeting": f"{greeting}, {name}!"}),
    )
