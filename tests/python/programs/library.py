"""The standard library, as workflows use it."""

import asyncio
import base64
import calendar
import collections
import csv
import dataclasses
import datetime
import decimal
import difflib
import enum
import functools
import gzip
import hashlib
import heapq
import hmac
import html
import io
import itertools
import json
import os
import pathlib
import pickle
import re
import sqlite3
import statistics
import string
import struct
import tempfile
import textwrap
import time
import typing
import unicodedata
import urllib.parse
import uuid
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Person:
    name: str
    tags: typing.List[str] = dataclasses.field(default_factory=list)


def archives():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "hello" * 10)
    with zipfile.ZipFile(data) as archive:
        return archive.read("a.txt").decode()[:5], zlib.crc32(b"a"), gzip.decompress(gzip.compress(b"g")).decode()


def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table people (name text, age int)")
    connection.executemany("insert into people values (?, ?)", [("ann", 30), ("bob", 40)])
    return connection.execute("select sum(age), group_concat(name) from people").fetchone()


def tables():
    out = io.StringIO()
    csv.writer(out).writerows([["a", "b c"], [1, 'q"']])
    return out.getvalue(), list(csv.DictReader(io.StringIO("x,y\n1,2\n")))


def files():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "deep" / "note.txt"
        path.parent.mkdir()
        path.write_text("first\nsecond\n", encoding="utf-8")
        with open(path, "a") as file:
            file.write("third\n")
        lines = path.read_text().splitlines()
        names = sorted(str(found.relative_to(folder)) for found in path.parent.rglob("*"))
        size = os.stat(path).st_size
        with zipfile.ZipFile(f"{folder}/a.zip", "w") as archive:
            archive.write(path, "note.txt")
        packed = zipfile.is_zipfile(f"{folder}/a.zip")
    return lines, names, size, packed, os.path.exists(folder), os.listdir("/tmp")


async def waits():
    async def one(seconds, name, order):
        await asyncio.sleep(seconds)
        order.append(name)
        return name

    order = []
    got = await asyncio.gather(one(0.02, "slow", order), one(0, "fast", order))
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
    except asyncio.TimeoutError:
        got.append("timed out")
    return got, order, await asyncio.to_thread(len, "abc")


def hashes():
    return {
        "sha256": hashlib.sha256(b"a").hexdigest()[:8],
        "md5": hashlib.md5(b"a").hexdigest()[:8],
        "sha3": hashlib.sha3_256(b"a").hexdigest()[:8],
        "blake2b": hashlib.blake2b(b"a").hexdigest()[:8],
        "hmac": hmac.new(b"k", b"m", hashlib.sha256).hexdigest()[:8],
        "hmac by name": hmac.digest(b"k", b"m", "sha1").hex()[:8],
        # RFC 7914 section 11 and RFC 6070.
        "pbkdf2 sha256": hashlib.pbkdf2_hmac("sha256", b"passwd", b"salt", 1, 64).hex()[:16],
        "pbkdf2 sha1": hashlib.pbkdf2_hmac("sha1", b"password", b"salt", 4096).hex(),
        "pbkdf2 long": hashlib.pbkdf2_hmac(
            "sha1", b"passwordPASSWORDpassword", b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25
        ).hex(),
    }


def dates():
    moment = datetime.datetime(2024, 2, 29, 13, 5, tzinfo=datetime.timezone.utc)
    return [
        moment.isoformat(),
        moment.strftime("%A %d %B %Y, %H:%M %Z"),
        datetime.datetime.strptime("02/03/2024 10:00", "%d/%m/%Y %H:%M").isoformat(),
        (moment + datetime.timedelta(days=366)).date().isoformat(),
        calendar.monthrange(2024, 2)[1],
        time.strftime("%Y-%m-%d", time.gmtime(0)),
        time.tzname[0],
    ]


def texts():
    return [
        re.sub(r"(\w+)@(\w+)", r"\2 at \1", "ann@corp"),
        html.escape("<a>") + html.unescape("&eacute;"),
        urllib.parse.quote("a b/é") + "?" + urllib.parse.urlencode({"q": ["1", "2"]}, doseq=True),
        unicodedata.normalize("NFKD", "é").encode("ascii", "ignore").decode(),
        "é".encode("cp1251", "replace").decode("cp1251") + "ж".encode("koi8-r").hex(),
        "münchen.de".encode("idna").decode(),
        textwrap.shorten("one two three", 9, placeholder="…"),
        string.Template("$a!").substitute(a=1),
        difflib.get_close_matches("appel", ["ape", "apple"])[0],
        ElementTree.fromstring("<a><b x='1'>t</b></a>").find("b").attrib["x"],
    ]


def numbers():
    return [
        str(decimal.Decimal("1.10") + decimal.Decimal("2.2")),
        statistics.median([3, 1, 2]),
        struct.unpack(">H", b"\x01\x02")[0],
        heapq.nsmallest(2, [3, 1, 2]),
        list(itertools.accumulate([1, 2, 3])),
        functools.reduce(lambda a, b: a * b, [1, 2, 3]),
        collections.Counter("abca").most_common(1),
        round(2.5), 10**30, 0.1 + 0.2,
        base64.b64encode(b"\xff\xfe").decode(),
    ]  # fmt: skip


def objects():
    person = pickle.loads(pickle.dumps(Person("ann", ["x"])))
    return [dataclasses.asdict(person), Colour("red").name, typing.get_type_hints(Person)["name"].__name__,
            str(uuid.uuid5(uuid.NAMESPACE_DNS, "a.b"))]  # fmt: skip


def workflow(_request, settings):
    seen = {
        "archives": archives(),
        "database": database(),
        "tables": tables(),
        "files": files(),
        "waits": asyncio.run(waits()),
        "hashes": hashes(),
        "dates": dates(),
        "texts": texts(),
        "numbers": numbers(),
        "objects": objects(),
    }
    return dict(status_code=200, body=json.dumps(seen))
