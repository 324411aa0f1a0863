import requests

PEOPLE = requests.get("https://api.example.com/people").json()


def workflow(_request, settings):
    return None
