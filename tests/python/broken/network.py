import requests

TOKEN = requests.get("http://127.0.0.1:1/token").text


def workflow(_request, settings):
    pass
