"""A request of 10 KB, read as JSON and written as JSON again."""

import json


def workflow(_request: dict, settings: dict) -> dict:
    people = [
        {"name": f"{one['first_name']} {one['last_name']}", "skills": sorted(one["skills"]), "email": one["email"]}
        for one in _request["people"]
    ]
    people.sort(key=lambda one: one["name"])
    body = json.dumps({"count": len(people), "people": people})
    return dict(status_code=200, headers={"Content-Type": "application/json"}, body=body)
