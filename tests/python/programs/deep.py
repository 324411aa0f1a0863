"""Recursion without end, caught and not."""


def fall(depth):
    return fall(depth + 1)


def nested(value, depth):
    for _ in range(depth):
        value = [value]
    return value


def workflow(_request, settings):
    if _request.get("caught"):
        try:
            fall(0)
        except RecursionError:
            return dict(status_code=200, body="caught")
    if _request.get("settings"):
        settings["DEEP"] = nested(1, 1_000)
        return None
    return fall(0)
