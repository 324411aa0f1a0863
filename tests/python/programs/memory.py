"""Where a run's objects lie, and which ones it need not write to."""

import json
import sys


def workflow(_request: dict, settings: dict) -> dict:
    # Sizes as real code has them, all alive at the same time.
    kept = [[None] * (index % 40) for index in range(2000)]
    kept += [str(index) * (1 + index % 20) for index in range(1000, 3000)]
    # The empty string, say, is where it always was.
    pages = sorted({id(item) >> 12 for item in kept})[10:-10]
    library = (json, json.dumps, json.dumps.__code__, json.JSONEncoder)
    found = {
        "contiguous": pages[-1] - pages[0] < 4 * len(pages),
        "library_is_immortal": all(map(sys._is_immortal, library)),
        "own_is_not": not any(map(sys._is_immortal, (workflow, kept, settings))),
    }
    return dict(status_code=200, headers={}, body=json.dumps(found))
