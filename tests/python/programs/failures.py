"""Fails to reach a server in every way, with each library, and tells by what exception."""

import http.client
import urllib.error
import urllib.parse
import urllib.request

import requests
import urllib3

FORBIDDEN = "http://169.254.169.254/"


def named(error):
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def with_requests(url, timeout):
    return requests.get(url, timeout=timeout).text


def with_urllib3(url, timeout):
    return urllib3.PoolManager(retries=False, timeout=timeout).request("GET", url).data


def with_urllib(url, timeout):
    return urllib.request.urlopen(url, timeout=timeout).read()


def with_http_client(url, timeout):
    parts = urllib.parse.urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)
    connection.request("GET", parts.path)
    return connection.getresponse().read()


LIBRARIES = {
    "requests": with_requests,
    "urllib3": with_urllib3,
    "urllib": with_urllib,
    "http.client": with_http_client,
}


def told(function, *arguments):
    try:
        return f"worked: {function(*arguments)!r:.80}"
    except urllib.error.URLError as error:
        return f"{named(error)}({named(error.reason)})"
    except Exception as error:
        return named(error)


def workflow(settings: dict):
    url = settings["URL"]
    jammed = requests.get(f"{url}/jammed", timeout=10).json()["port"]
    ways = {
        "refused": (settings["CLOSED"], 5),
        "unknown host": ("http://nowhere.invalid/", 5),
        "connect time-out": (f"http://127.0.0.1:{jammed}/", 0.2),
        "read time-out": (f"{url}/slow", 0.2),
        "no TLS there": (f"{url.replace('http:', 'https:')}/echo", 5),
        "reset": (f"{url}/hang-up", 5),
        "cut": (f"{url}/reset", 5),
        "no HTTP": (f"{url}/nonsense", 5),
        "policy": (FORBIDDEN, 5),
    }
    seen = {}
    for way, (address, timeout) in ways.items():
        seen[way] = {name: told(function, address, timeout) for name, function in LIBRARIES.items()}
    for name, function in LIBRARIES.items():
        try:
            function(FORBIDDEN, 5)
        except Exception as error:
            seen["policy"][name] += str(error).partition("the host's egress")[2].rstrip("'\")>")
    return seen
