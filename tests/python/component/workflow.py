"""A program of several modules, a data file, and a package of its own."""

import json
from pathlib import Path

import shouting
import six
from helpers import greeting
from helpers.text import shout

LOADED = greeting.LOADED


def workflow(_request, settings):
    settings["CALLS"] = settings.get("CALLS", 0) + 1
    LOADED.append("by a run")
    if _request.get("fail"):
        shout(None)
    template = (Path(__file__).parent / "templates" / "letter.txt").read_text()
    seen = {
        "letter": template.strip().format(name=shouting.louder(_request["name"])),
        "greeting": shout(greeting.hello()),
        "loaded": len(LOADED),
        "file": __file__,
        "late": late(),
        "six": six.PY3,
    }
    return dict(status_code=200, body=json.dumps(seen))


def late():
    from helpers.unused import NAME

    return NAME
