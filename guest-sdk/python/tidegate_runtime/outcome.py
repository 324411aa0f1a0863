"""What a workflow returned, as a reply."""

import json
import re

from . import jsontext
from .text import shorten, with_article

#: Statuses that a workflow may answer with. 1xx are the host's own.
STATUS_MIN, STATUS_MAX = 200, 599

#: Longest text for a returned value that is not JSON, in characters.
REPR_LENGTH_MAX = 10_000


class Reply:
    """The HTTP response of a catch workflow.

    `body` is bytes, or `None` for the host's default body.
    """

    __slots__ = ("status", "headers", "body")

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self):
        return f"Reply({self.status!r}, {self.headers!r}, {self.body!r})"


def reply(value, warn):
    """The reply that a returned value asks for, or `None` for the default reply.

    A dict with ``status_code`` (an int, 200 to 599), ``body`` (a str) and perhaps
    ``headers`` (a dict) is a reply. Anything that is wrong with it is told to `warn`,
    a function of one text, and never fails the run: without a usable status or body
    the caller gets the default body, under the given status if that is usable.
    """
    if not isinstance(value, dict):
        return None
    status = _status(value, warn)
    body = _body(value, warn)
    headers = _headers(value.get("headers"), warn)
    if status is None:
        status, body = STATUS_MIN, None
    return Reply(status, headers, body)


def as_json(value, warn):
    """A returned value as JSON text for the run's record, or `None` for no value."""
    if value is None:
        return None
    try:
        if jsontext.is_too_deep(value):
            raise ValueError("nested too deeply")
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        return text
    except (TypeError, ValueError):
        warn(f"the returned {type(value).__name__} is not JSON: the run's record has its repr")
        return json.dumps(shorten(_repr(value), REPR_LENGTH_MAX))


def _repr(value):
    try:
        return object.__repr__(value) if jsontext.is_too_deep(value) else repr(value)
    except Exception as error:
        return f"<{with_article(type(value).__name__)} whose repr() failed: {type(error).__name__}>"


def _status(value, warn):
    if "status_code" not in value:
        warn("the returned dict has no 'status_code': the caller gets the default reply")
        return None
    status = value["status_code"]
    if not isinstance(status, int) or isinstance(status, bool):
        warn(
            f"'status_code' must be an int, not {_kind(status)}: "
            "the caller gets the default reply"
        )
        return None
    if not STATUS_MIN <= status <= STATUS_MAX:
        warn(
            f"'status_code' must be from {STATUS_MIN} to {STATUS_MAX}, not {int(status)}: "
            "the caller gets the default reply"
        )
        return None
    return int(status)


def _body(value, warn):
    if "body" not in value:
        warn("the returned dict has no 'body': the caller gets the default body")
        return None
    body = value["body"]
    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    if not isinstance(body, str):
        hint = " (use json.dumps)" if isinstance(body, (dict, list)) else ""
        warn(f"'body' must be a str, not {_kind(body)}{hint}: the caller gets the default body")
        return None
    return body.encode("utf-8", "replace")


# RFC 9110 section 5.6.2, and no control characters but tab in a value (section 5.5).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Names that need not be looked through.
_USUAL = frozenset(
    (
        "Cache-Control", "Content-Disposition", "Content-Length", "Content-Type", "ETag",
        "Location", "Retry-After", "Set-Cookie", "content-type",
    )
)


def _headers(headers, warn):
    if headers is None:
        return []
    if not isinstance(headers, dict):
        warn(f"'headers' must be a dict, not {_kind(headers)}: left out")
        return []
    found = []
    for name, value in headers.items():
        if name not in _USUAL and not (isinstance(name, str) and _TOKEN.fullmatch(name)):
            warn(f"'headers' has a name that is not valid, {shorten(repr(name), 80)}: left out")
            continue
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, (int, float)) and not isinstance(item, bool):
                warn(f"header {name!r} must be a str, not {_kind(item)}: sent as {str(item)!r}")
                item = str(item)
            if type(item) is str and item.isascii() and item.isprintable():
                found.append((name, item))
            elif not isinstance(item, str):
                warn(f"header {name!r} must be a str, not {_kind(item)}: left out")
            elif _CONTROL.search(item):
                warn(f"header {name!r} has a line break or another control character: left out")
            else:
                found.append((name, item.encode("utf-8", "replace").decode()))
    return found


def _kind(value):
    return "None" if value is None else with_article(type(value).__name__)
