"""Checks an HMAC over the body as it serialises it again, and over the raw body."""

import hashlib
import hmac
import json


def workflow(_request, settings):
    names = settings["SIGNED"]
    again = json.dumps({name: _request[name] for name in names}).encode()
    expected = _request["HTTP-HRFLOW-SIGNATURE"]
    key = settings["SECRET"].encode()
    checks = [
        hmac.compare_digest(hmac.new(key, data, hashlib.sha256).hexdigest(), expected)
        for data in (again, _request.raw)
    ]
    return dict(status_code=200 if all(checks) else 401, body=json.dumps(checks))
