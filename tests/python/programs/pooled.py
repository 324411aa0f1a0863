"""Tells from which port the host's connections come: one that is kept has the same."""

import http.client
import json
import urllib.parse

import requests


def workflow(settings: dict):
    url = settings["URL"]
    ports = [requests.get(f"{url}/peer", timeout=10).json()["port"] for _ in range(3)]
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=10)
    connection.request("GET", "/peer")
    ports.append(json.load(connection.getresponse())["port"])
    assert len(set(ports)) == 1, ports
    return {"port": ports[0]}
