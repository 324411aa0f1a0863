"""Goes through the ways to send HTTP. `settings["URL"]` is a server that is allowed."""

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry


def told(error):
    return f"{type(error).__module__}.{type(error).__name__}"


def multipart(got):
    """The parts of a body as the server saw it."""
    boundary = got["headers"]["content-type"].partition("boundary=")[2]
    return [part.strip() for part in got["body"].split("--" + boundary)[1:-1]]


def workflow(settings: dict):
    url = settings["URL"]
    parts = urllib.parse.urlsplit(url)
    seen = {}

    def see(name, function):
        try:
            seen[name] = function()
        except Exception as error:
            seen[name] = told(error)

    def echo(response):
        return response.json()

    def streamed():
        with requests.get(f"{url}/stream", stream=True, timeout=10) as response:
            return [line.decode() for line in response.iter_lines()]

    def cookies():
        with requests.Session() as kept:
            kept.cookies.set("own", "2")
            kept.get(f"{url}/cookie")
            return sorted(kept.cookies.items()), echo(kept.get(f"{url}/echo"))["headers"]["cookie"]

    def session():
        with requests.Session() as kept:
            kept.headers["X-Kept"] = "1"
            kept.get(f"{url}/cookie")
            got = echo(kept.get(f"{url}/echo"))
            return got["headers"]["cookie"], got["headers"]["x-kept"]

    def redirected():
        got = requests.get(f"{url}/redirect")
        return [past.status_code for past in got.history], got.json()["path"]

    def other_redirects():
        seen = [echo(requests.post(f"{url}/{path}", data="x")) for path in ("see-other", "temporary")]
        unfollowed = requests.get(f"{url}/redirect", allow_redirects=False)
        return [(got["method"], got["body"]) for got in seen] + [unfollowed.headers["location"]]

    def redirected_away():
        try:
            return requests.get(f"{url}/to-metadata", timeout=5).status_code
        except requests.ConnectionError as error:
            return told(error), "policy refuses requests to 169.254.169.254" in str(error)

    def proxied(**options):
        try:
            return requests.get(f"{url}/echo", **options).status_code
        except requests.RequestException as error:
            return told(error), "HTTP proxies are not available in this sandbox" in str(error)

    def proxy_of_the_environment():
        os.environ["HTTP_PROXY"] = "http://127.0.0.1:9"
        try:
            return proxied()
        finally:
            del os.environ["HTTP_PROXY"]

    def opener():
        handler = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        handler.add_password(None, url, "u", "p")
        made = urllib.request.build_opener(
            urllib.request.HTTPBasicAuthHandler(handler), urllib.request.HTTPCookieProcessor()
        )
        return json.load(made.open(f"{url}/unauthorized", timeout=10))

    def retried():
        kept = requests.Session()
        kept.mount(url, HTTPAdapter(max_retries=Retry(total=2, backoff_factor=0, status_forcelist=[500])))
        return kept.get(f"{url}/fail-twice").status_code

    def client():
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        connection.request("PUT", "/echo?1", body="abc", headers={"X-A": "b"})
        first = json.loads(connection.getresponse().read())
        connection.request("GET", "/echo?2")
        return first["method"], first["body"], json.loads(connection.getresponse().read())["path"]

    def chunked():
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
        connection.request("POST", "/echo", body=iter([b"ab", b"cd"]), encode_chunked=True)
        got = json.loads(connection.getresponse().read())
        return got["body"], got["headers"].get("transfer-encoding")

    see("get", lambda: echo(requests.get(f"{url}/echo", params={"a": "b c"}))["path"])
    see("json", lambda: echo(requests.post(f"{url}/echo", json={"x": [1, 2.5]}))["body"])
    see("form", lambda: echo(requests.post(f"{url}/echo", data={"a": "b c"}))["body"])
    see("basic auth", lambda: echo(requests.get(f"{url}/echo", auth=("u", "p")))["headers"]["authorization"])
    see("files", lambda: multipart(echo(requests.post(
        f"{url}/echo", data={"note": "hi"}, files={"cv": ("a.txt", b"hello", "text/plain")}
    ))))  # fmt: skip
    see("generator", lambda: echo(requests.post(f"{url}/echo", data=(part for part in [b"ab", b"cd"])))["body"])
    see("large up", lambda: echo(requests.post(f"{url}/echo", data=b"z" * 1_000_000))["length"])
    see("large down", lambda: len(requests.get(f"{url}/large").content))
    see("methods", lambda: [requests.request(m, f"{url}/echo").json()["method"] for m in ("PUT", "PATCH", "DELETE", "OPTIONS")])
    see("head", lambda: (requests.head(f"{url}/echo").status_code, requests.head(f"{url}/echo").text))
    see("gzip", lambda: requests.get(f"{url}/gzip").json())
    see("deflate", lambda: requests.get(f"{url}/deflate").json())
    see("streamed", streamed)
    see("cookies", cookies)
    see("session", session)
    see("redirected", redirected)
    see("other redirects", other_redirects)
    see("redirected away", redirected_away)
    see("too many redirects", lambda: requests.get(f"{url}/around"))
    see("retried", retried)
    see("status", lambda: requests.get(f"{url}/missing").raise_for_status())
    see("no content", lambda: (requests.get(f"{url}/empty").status_code, requests.get(f"{url}/empty").text))
    see("time-outs", lambda: requests.get(f"{url}/slow", timeout=(5, 0.2)))
    see("proxy", lambda: proxied(proxies={"http": "http://127.0.0.1:9"}))
    see("proxy of the environment", proxy_of_the_environment)
    see("proxy of urllib3", lambda: urllib3.ProxyManager("http://127.0.0.1:9").request("GET", url, retries=False))
    see("client certificate", lambda: requests.get(url.replace("http:", "https:"), cert="/tmp/a.pem"))
    see("bad header", lambda: requests.get(f"{url}/echo", headers={"X-A": "1\r\n2"}))
    see("urllib", lambda: json.load(urllib.request.urlopen(f"{url}/echo?u", timeout=10))["path"])
    see("urllib post", lambda: json.load(urllib.request.urlopen(urllib.request.Request(f"{url}/echo", data=b"q=1")))["body"])
    see("urllib 404", lambda: urllib.request.urlopen(f"{url}/missing"))
    see("urllib opener", opener)
    see("urllib3", lambda: urllib3.PoolManager().request("GET", f"{url}/echo?3").json()["path"])
    see("urllib3 fields", lambda: multipart(urllib3.PoolManager().request(
        "POST", f"{url}/echo", fields={"note": "hi", "cv": ("a.txt", "hello", "text/plain")}
    ).json()))  # fmt: skip
    see("urllib3 JSON", lambda: urllib3.request("POST", f"{url}/echo", json={"a": 1}).json()["body"])
    see("http.client", client)
    see("chunked", chunked)
    return seen
