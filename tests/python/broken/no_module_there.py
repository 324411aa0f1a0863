import requests.adapter


def workflow(_request, settings):
    pass
