"""Sends and receives bodies part by part: each part arrives before the next is made."""

import urllib.request

import requests
import urllib3


def workflow(settings: dict):
    url = settings["URL"]
    seen = {}

    def parts():
        for number in range(3):
            yield f"part {number};".encode()
            # The server waits until it has that much: nothing of it lay in a buffer.
            arrived = requests.get(f"{url}/arrived", params={"length": 7 * (number + 1)}, timeout=10)
            seen[f"part {number} arrived"] = arrived.json()

    seen["up"] = requests.post(f"{url}/upload", data=parts(), timeout=10).json()

    # The server sends the second line when it is told that the first one is here.
    with requests.get(f"{url}/held", stream=True, timeout=10) as response:
        lines = response.iter_lines()
        seen["down"] = [next(lines).decode()]
        requests.post(f"{url}/release", timeout=10)
        seen["down"] += [line.decode() for line in lines]

    response = urllib3.PoolManager().request("GET", f"{url}/held", preload_content=False, timeout=10)
    lines = iter(response)
    seen["urllib3 down"] = [next(lines).decode()]
    requests.post(f"{url}/release", timeout=10)
    seen["urllib3 down"] += [line.decode() for line in lines]

    with urllib.request.urlopen(f"{url}/held", timeout=10) as response:
        seen["urllib down"] = [response.readline().decode()]
        requests.post(f"{url}/release", timeout=10)
        seen["urllib down"] += [line.decode() for line in response]
    return seen
