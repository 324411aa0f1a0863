import json


def workflow(_request, settings)
    return None
