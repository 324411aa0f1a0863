"""Sends the same requests over urllib3's own connection class and over one derived from it,
which the runtime leaves as it is, and looks after what requests looks for with each."""

import http.cookiejar
import os
import pathlib

import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from urllib3.util import SKIP_HEADER

REQUESTS = [
    ("GET", {}, None),
    ("GET", {"X-A": " padded ", "x-b": "", "User-Agent": "me", "Accept-Encoding": "gzip"}, None),
    ("GET", {"X-Latin": "caf\xe9", "X-Tab": "a\tb", "X-Bytes": b"raw", "X-Number": 5}, None),
    ("GET", {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER}, None),
    ("GET", {"Host": "other.example", "Connection": "close", "TE": "trailers"}, None),
    ("GET", {"X-Folded": "a\r\n b"}, None),
    ("HEAD", {}, None),
    ("DELETE", {}, b"gone"),
    ("POST", {}, None),
    ("POST", {}, b""),
    ("POST", {}, "caf\xe9"),
    ("POST", {"Content-Length": "3"}, b"abc"),
    ("POST", {"Transfer-Encoding": "chunked"}, b"abc"),
    ("POST", {}, bytearray(b"abc")),
    ("PUT", {}, [b"in ", b"parts"]),
    ("PUT", {"X-A": "1"}, b"x"),
]
REFUSED = [
    ("GET", {"X A": "1"}, None),
    ("GET", {"X-A": "1\r\nX-B: 2"}, None),
    ("GET", {"X-A": "\u20ac"}, None),
    ("GE T", {}, None),
    ("GET", {"Content-Length": SKIP_HEADER}, None),
]


class Derived(urllib3.connection.HTTPConnection):
    pass


def told(error):
    return f"{type(error).__module__}.{type(error).__name__}: {error}"


def workflow(settings: dict):
    url = settings["URL"]
    server = urllib3.util.parse_url(url)
    pools = [urllib3.HTTPConnectionPool(server.host, server.port) for _ in range(2)]
    pools[1].ConnectionCls = Derived

    def outcome(pool, method, headers, body):
        try:
            got = pool.urlopen(method, "/echo?a=%20b", body=body, headers=headers, retries=False)
        except Exception as error:
            return told(error).replace("Derived", "HTTPConnection")
        return got.status, {name: text for name, text in got.headers.items() if name != "Date"}, got.data

    differ = [each for each in REQUESTS + REFUSED if outcome(pools[0], *each) != outcome(pools[1], *each)]
    refused = [outcome(pools[0], *each) for each in REFUSED]

    def basic():
        got = requests.get(f"{url}/echo").json()["headers"].get("authorization")
        return got and requests.auth._basic_auth_str("u", "p") == got

    logins = [basic()]
    netrc = pathlib.Path.home() / ".netrc"
    netrc.write_text(f"machine {server.host} login u password p\n")
    logins.append(basic())
    moved = netrc.rename("/tmp/elsewhere")
    logins.append(basic())
    os.environ["NETRC"] = str(moved)
    logins.append(basic())
    del os.environ["NETRC"]

    headers = CaseInsensitiveDict({"A": "1"}, b="2")
    copied = headers.copy()
    headers.update({"a": "3"})
    headers.update([("C", "4")])
    headers.update(CaseInsensitiveDict(D="5"), e="6")

    class Own(CaseInsensitiveDict):
        def __setitem__(self, key, value):
            super().__setitem__(key, value.upper())

    jars = []
    for jar in (requests.cookies.RequestsCookieJar(), http.cookiejar.CookieJar()):
        with requests.Session() as session:
            session.cookies = jar
            session.get(f"{url}/cookie")
            jars.append([cookie.name for cookie in jar])
    with requests.Session() as session:
        session.headers.update({"X-Kept": "1", "X-Gone": "2"})
        merged = session.get(f"{url}/echo", headers={"x-gone": None, "X-New": "3"}).json()["headers"]
    return {
        "differ": [[method, str(headers)] for method, headers, _ in differ],
        "refused": [isinstance(each, str) for each in refused],
        "logins": logins,
        "headers": [list(copied.items()), list(headers.items()), len(headers.items()), list(Own(a="x").items())],
        "jars": jars,
        "merged": sorted(name for name in merged if name.startswith("x-")),
    }
