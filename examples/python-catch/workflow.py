"""Takes job applications that a form or a script posts, and answers at once."""

import json

REQUIRED = ("name", "email", "job")


def answer(status, **body):
    return dict(
        status_code=status,
        headers={"Content-Type": "application/json"},
        body=json.dumps(body),
    )


def workflow(_request: dict, settings: dict) -> dict:
    missing = [field for field in REQUIRED if not _request.get(field)]
    if missing:
        return answer(400, error=f"missing: {', '.join(missing)}")

    jobs = [job.strip() for job in settings["OPEN_JOBS"].split(",")]
    if _request["job"] not in jobs:
        return answer(422, error=f"{_request['job']} is not open", open=jobs)

    # What is assigned to settings is there at the next call.
    settings["RECEIVED"] = settings.get("RECEIVED", 0) + 1
    print(f"application {settings['RECEIVED']} for {_request['job']}")
    return answer(201, number=settings["RECEIVED"], thanks=_request["name"])
