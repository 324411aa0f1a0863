import os
import sys


def workflow(_request, settings):
    if _request.get("how") == "os":
        os._exit(3)
    sys.exit(3)
