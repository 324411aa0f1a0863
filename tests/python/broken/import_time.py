import os

KEY = os.environ["API_KEY"]


def workflow(_request, settings):
    return None
