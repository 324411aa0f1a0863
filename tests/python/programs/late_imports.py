"""Which modules are searched for after the snapshot: each search costs the run."""

import sys

searched = []


class Recorder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        searched.append(name)


def workflow(settings: dict):
    sys.meta_path.insert(0, Recorder)
    import asyncio
    import csv
    import email.message
    import http.client
    import logging
    import tempfile
    import traceback
    import urllib.request
    import zoneinfo

    import requests
    import urllib3

    url = settings["URL"]
    requests.get(url + "/echo", params={"a": "1"}, timeout=5).json()
    requests.Session().post(url + "/echo", json={"a": 1}, auth=("a", "b"))
    requests.post(url + "/echo", files={"file": ("a.txt", b"text")})
    urllib3.PoolManager().request("GET", url + "/echo")
    urllib.request.urlopen(url + "/echo").read()
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", "/echo")
    connection.getresponse().read()
    zoneinfo.ZoneInfo("Europe/Paris")
    email.message.EmailMessage().set_content("\u00e9")
    list(csv.reader(["a,b"]))
    tempfile.mkstemp()
    asyncio.run(asyncio.sleep(0))
    for encoding in ("latin-1", "cp1252", "utf-16", "idna"):
        "a".encode(encoding)
    try:
        {}["missing"]
    except KeyError:
        logging.exception("failed")
        traceback.format_exc()
    return {"searched": searched}
