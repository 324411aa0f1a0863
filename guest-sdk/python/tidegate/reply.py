"""What the caller of a catch workflow gets."""

import json
import uuid


class ReplyWarning(UserWarning):
    """The returned value is no proper reply. In the sandbox the run's log says so."""


class Reply:
    """An HTTP response: `status`, `headers` (pairs), `body` (bytes)."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self):
        """The body as text."""
        return self.body.decode("utf-8")

    def json(self):
        """The body, parsed."""
        return json.loads(self.body)

    def header(self, name):
        """The first header of that name, whatever its case; `None` if there is none."""
        for found, value in self.headers:
            if found.lower() == name.lower():
                return value
        return None

    def __repr__(self):
        return f"<{type(self).__name__} {self.status} {self.body[:80]!r}>"


class DefaultReply(Reply):
    """The host's own body, for a workflow that returned none."""

    def __init__(self, status=200, headers=()):
        body = {"run": uuid.uuid4().hex, "status": "succeeded"}
        kind = ("Content-Type", "application/json")
        super().__init__(status, [kind, *headers], json.dumps(body).encode())
