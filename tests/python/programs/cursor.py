"""Saves a cursor after each page, then fails."""


def workflow(settings: dict):
    for page in (1, 2):
        settings["CURSOR"] = page
        settings.save()
    settings["CURSOR"] = 3
    raise ConnectionError("page 3 cannot be had")
