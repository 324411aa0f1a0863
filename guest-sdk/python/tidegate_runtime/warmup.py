"""Sample programs, run before the snapshot.

The first run of a piece of Python specialises its bytecode, fills caches and grows the
heap. Done here once, no run has to: not even its pages are copied for it.
"""

import gc
import linecache
import sys
import warnings

from componentize_py_types import Err
from wit_world.imports import log, settings
from wit_world.imports import tidegate_workflow_types as types

from .outbound import wire

#: How often each program runs. CPython specialises a function within its first dozen calls.
ROUNDS = 24

CATCH = '''
import base64, datetime, decimal, hashlib, hmac, json, logging, os, random, re, time, uuid
import urllib.parse

logger = logging.getLogger(__name__)
PATTERN = re.compile(r"(\\w+)@(\\w+)")

class Profile:
    def __init__(self, first, last):
        self.first, self.last = first, last

    @property
    def name(self):
        return f"{self.first} {self.last}"

def sign(key, text):
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()

def workflow(_request: dict, settings: dict):
    print("warm", _request.get("name"), len(_request))
    logger.info("got %s", _request["Content-Type"])
    profile = Profile(_request["name"], "x")
    PATTERN.search("a@b").group(1)
    signed = sign(settings["KEY"], json.dumps(_request["tags"], sort_keys=True))
    seen = {"at": datetime.datetime.now(datetime.timezone.utc).isoformat(), "id": str(uuid.uuid4())}
    seen["price"] = str(decimal.Decimal("1.10") + 1) + base64.b64encode(os.urandom(3)).decode()
    seen["query"] = urllib.parse.urlencode({"a": 1, "b": random.random()})
    settings["COUNT"] = settings.get("COUNT", 0) + 1
    return dict(
        status_code=201,
        headers={"Content-Type": "application/json"},
        body=json.dumps({"hello": profile.name, "signed": signed, **seen}),
    )
'''

PULL = '''
import json, urllib.request

def workflow(settings: dict):
    with urllib.request.urlopen("http://warm.invalid/a?b=1", timeout=5) as response:
        settings["LAST"] = json.load(response)
    return {"done": True}
'''

REQUESTS = '''
import json
import requests

def workflow(settings: dict):
    session = requests.Session()
    page = session.get("https://warm.invalid/a", params={"q": "1"}, headers={"X-A": "1"}, timeout=5)
    page.raise_for_status()
    requests.post("https://warm.invalid/b", json={"a": [page.json()]}, auth=("a", "b"))
    requests.post("https://warm.invalid/b", data={"text": "a b"})
    sent = requests.post(
        "http://warm.invalid:8080/sms", headers={"X-API-KEY": "k"}, json={"text": "a"}, timeout=10
    )
    if sent.status_code != 200:
        raise ConnectionError(f"the service answered {sent.status_code}")
    return sent.json()["code"]
'''

HRFLOW = '''
from hrflow import Hrflow

def workflow(settings: dict):
    client = Hrflow(api_secret="a", api_user="b", api_url="https://warm.invalid/v1/")
    found = client.profile.searching.list(source_keys=["s"], page=1, limit=30)
    kept = getattr(client.profile, "indexing", None) or client.profile.storing
    profile = kept.get(source_key="s", key="k")
    if profile["code"] != 200:
        raise ConnectionError(f"no profile: {profile['message']}")
    return profile["data"]
'''

TWILIO = '''
from twilio.rest import Client

def workflow(settings: dict):
    sent = Client("AC0", "token").messages.create(to="+330", from_="+331", body="a")
    return sent.sid
'''

FAILING = '''
import json

def inner(value):
    return value["missing"]

def workflow(settings: dict):
    try:
        json.loads("{")
    except ValueError:
        pass
    return inner({})
'''

_REQUEST = types.Request(
    "POST",
    "/catch/warm?a=1",
    [("content-type", "application/json"), ("user-agent", "warm"), ("x-request-id", "1")],
    b'{"name": "warm", "tags": [{"name": "a", "value": 1.5}], "deep": {"a": [null, true]}}',
)
_FORM = types.Request(
    "POST",
    "/catch/warm",
    [("content-type", "application/x-www-form-urlencoded")],
    b"name=warm&tags=a&tags=b",
)


def run(start):
    """Runs the samples; `start` is a function of a source that gives what runs it.

    What it gives takes a trigger and settings, as the host's calls do.
    """
    real = wire.Exchange, log.emit, settings.commit
    wire.Exchange = _Exchange
    log.emit = settings.commit = lambda *arguments: None
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = _Nowhere()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _run_all(start)
    finally:
        wire.Exchange, log.emit, settings.commit = real
        sys.stdout, sys.stderr = streams
        linecache.clearcache()
        gc.collect()


def _run_all(start):
    tick = types.Trigger_Pull(types.Tick("warm", 0, 1))
    pairs = [types.Setting("KEY", '"secret"'), types.Setting("COUNT", "1")]
    calls = [
        (start(CATCH), types.Trigger_Catch(_REQUEST)),
        (start(CATCH), types.Trigger_Catch(_FORM)),
        (start(PULL), tick),
    ]
    if "requests" in sys.modules:
        calls.append((start(REQUESTS), tick))
    if "hrflow" in sys.modules:
        calls.append((start(HRFLOW), tick))
    if "twilio.rest" in sys.modules:
        calls.append((start(TWILIO), tick))
    failing = start(FAILING)
    for _ in range(ROUNDS):
        for call, trigger in calls:
            call(trigger, pairs)
        try:
            failing(tick, pairs)
        except Err:
            pass
        sys.modules.pop("workflow", None)


class _Exchange:
    """An exchange that answers out of thin air."""

    def __init__(self, *arguments):
        self.cut = False
        self._data = b'{"code": 200, "message": "", "data": {"profiles": []}}'

    def write(self, data, timeout):
        pass

    def finish(self):
        pass

    def head(self, timeout):
        length = str(len(self._data)).encode()
        return 200, [("content-type", b"application/json"), ("content-length", length)]

    def read(self, length_max, timeout):
        data, self._data = self._data[:length_max], self._data[length_max:]
        return data

    def close(self):
        pass


class _Nowhere:
    """A stream that swallows what the samples print."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass
