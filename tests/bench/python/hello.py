"""What each peer runs."""

import json


def workflow(_request: dict, settings: dict) -> dict:
    greeting = json.loads('{"text": "hello"}')["text"]
    return dict(status_code=200, headers={"Content-Type": "text/plain"}, body=greeting + "\n")
