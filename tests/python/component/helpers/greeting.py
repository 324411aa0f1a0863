from .text import shout

LOADED = ["once"]


def hello():
    return "hello"


assert shout("a") == "A!"
