import json


def workflow(_request: dict, settings: dict):
    return dict(
        status_code=201,
        headers={"Content-Type": "application/json"},
        body=json.dumps({"hello": _request["name"], "agent": _request["USER-AGENT"]}),
    )
