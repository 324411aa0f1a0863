from requests import gett


def workflow(_request, settings):
    pass
