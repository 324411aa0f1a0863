"""Keeps a count in settings, and one in a global that must not be kept."""

CALLS = 0


def workflow(settings: dict):
    global CALLS
    CALLS += 1
    settings["COUNT"] = settings.get("COUNT", 0) + 1
    settings.setdefault("HISTORY", []).append({"n": settings["COUNT"], "at": 1.5})
    settings.pop("OLD", None)
    return {"calls": CALLS, "seen": sorted(settings)}
