import json


class Refused(Exception):
    pass


def inner(text):
    return json.loads(text)


def middle(text):
    try:
        return inner(text)
    except ValueError as error:
        raise Refused("the ATS answered nonsense") from error


def workflow(_request, settings):
    return middle(_request.get("text", "{"))
