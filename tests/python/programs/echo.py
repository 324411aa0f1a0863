"""Shows what a catch workflow is handed."""

import json


def workflow(_request, settings):
    seen = {
        "merged": _request,
        "raw": _request.raw.decode("latin-1"),
        "method": _request.method,
        "path": _request.path,
        "query": _request.query,
        "headers": _request.headers,
    }
    return dict(status_code=200, body=json.dumps(seen))
