"""Answers with the reply that the request names."""

REPLIES = {
    "none": None,
    "text": "just text",
    "list": [1, 2],
    "no body": dict(status_code=202),
    "dict body": dict(status_code=202, body={"a": 1}),
    "text status": dict(status_code="202", body="x"),
    "odd status": dict(status_code=99, body="x"),
    "other dict": {"message": "hello"},
    "empty": dict(status_code=204, body=""),
    "bytes": dict(status_code=200, body=b"\x00\x01"),
    "line break": dict(status_code=200, body="x", headers={"X-A": "1\r\nX-B: 2", "X-C": "3"}),
    "number": dict(status_code=429, body="x", headers={"Retry-After": 5}),
    "cookies": dict(status_code=200, body="x", headers={"Set-Cookie": ["a=1", "b=2"]}),
}


def workflow(_request, settings):
    return REPLIES[_request["reply"]]
