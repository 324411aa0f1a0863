"""Goes through the ways to send HTTP. `settings["URL"]` is a server that is allowed."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry


def told(error):
    return f"{type(error).__module__}.{type(error).__name__}"


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

    def session():
        with requests.Session() as kept:
            kept.headers["X-Kept"] = "1"
            kept.get(f"{url}/cookie")
            got = echo(kept.get(f"{url}/echo"))
            return got["headers"]["cookie"], got["headers"]["x-kept"]

    def redirected():
        got = requests.get(f"{url}/redirect")
        return [past.status_code for past in got.history], got.json()["path"]

    def retried():
        kept = requests.Session()
        kept.mount("http://", HTTPAdapter(max_retries=Retry(total=2, backoff_factor=0, status_forcelist=[500])))
        return kept.get(f"{url}/fail-twice").status_code

    def policy():
        try:
            return requests.get("http://169.254.169.254/", timeout=5).status_code
        except requests.ConnectionError as error:
            return told(error), "policy refuses" in str(error)

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
    see("files", lambda: "hello" in echo(requests.post(f"{url}/echo", files={"cv": ("a.txt", b"hello")}))["body"])
    see("generator", lambda: echo(requests.post(f"{url}/echo", data=(part for part in [b"ab", b"cd"])))["body"])
    see("large up", lambda: echo(requests.post(f"{url}/echo", data=b"z" * 1_000_000))["length"])
    see("large down", lambda: len(requests.get(f"{url}/large").content))
    see("methods", lambda: [requests.request(m, f"{url}/echo").json()["method"] for m in ("PUT", "PATCH", "DELETE", "OPTIONS")])
    see("head", lambda: (requests.head(f"{url}/echo").status_code, requests.head(f"{url}/echo").text))
    see("gzip", lambda: requests.get(f"{url}/gzip").json())
    see("streamed", streamed)
    see("session", session)
    see("redirected", redirected)
    see("retried", retried)
    see("status", lambda: requests.get(f"{url}/missing").raise_for_status())
    see("no content", lambda: (requests.get(f"{url}/empty").status_code, requests.get(f"{url}/empty").text))
    see("read time-out", lambda: requests.get(f"{url}/slow", timeout=0.2))
    see("reset", lambda: requests.get(f"{url}/reset"))
    see("refused", lambda: requests.get(settings["CLOSED"], timeout=5))
    see("unknown host", lambda: requests.get("http://nowhere.invalid/", timeout=5))
    see("policy", policy)
    see("proxy", lambda: requests.get(f"{url}/echo", proxies={"http": "http://127.0.0.1:9"}))
    see("tls to plain", lambda: requests.get(url.replace("http:", "https:"), timeout=5))
    see("client certificate", lambda: requests.get(url.replace("http:", "https:"), cert="/tmp/a.pem"))
    see("bad header", lambda: requests.get(f"{url}/echo", headers={"X-A": "1\r\n2"}))
    see("urllib", lambda: json.load(urllib.request.urlopen(f"{url}/echo?u", timeout=10))["path"])
    see("urllib post", lambda: json.load(urllib.request.urlopen(urllib.request.Request(f"{url}/echo", data=b"q=1")))["body"])
    see("urllib 404", lambda: urllib.request.urlopen(f"{url}/missing"))
    see("urllib refused", lambda: urllib.request.urlopen(settings["CLOSED"]))
    see("urllib3", lambda: urllib3.PoolManager().request("GET", f"{url}/echo?3").json()["path"])
    see("urllib3 refused", lambda: urllib3.PoolManager(retries=False).request("GET", settings["CLOSED"]))
    see("http.client", client)
    see("chunked", chunked)
    return seen
