"""Sample files of a project: ``request.json`` and ``settings.json``."""

import json
from pathlib import Path


class Sample:
    """A request: `body` (bytes or JSON value), `headers`, `method` and `path`."""

    def __init__(self, body=None, headers=None, method="POST", path="/"):
        self.body = body
        self.headers = dict(headers or {})
        self.method = method
        self.path = path


def read_request(path):
    """The request in a file: JSON with ``method``, ``path``, ``headers`` and ``body``."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    unknown = set(found) - {"method", "path", "headers", "body"}
    if unknown:
        raise ValueError(f"{path}: a request has no {', '.join(sorted(unknown))}")
    return Sample(**found)


def read_settings(path):
    """The settings in a file: a JSON object."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path}: settings are a JSON object")
    return found
