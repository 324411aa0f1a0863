"""Uses every package of the runtime hrflow-4 once. `settings["URL"]` plays all services."""

import datetime
import io

import bs4
import certifi
import charset_normalizer
import dateutil.parser
import dateutil.relativedelta
import dateutil.tz
import et_xmlfile
import idna
import jinja2
import jwt
import markupsafe
import openpyxl
import pydantic
import pytz
import requests
import soupsieve
import tqdm
import typing_extensions
import tzdata
import urllib3
import xmltodict
from hrflow import Hrflow
from hrflow.schemas import HrFlowProfile


class Profile(pydantic.BaseModel):
    name: str
    age: int = 0


def hrflow(url):
    client = Hrflow(api_url=f"{url}/v1/", api_secret="secret", api_user="ann@corp.example")
    profile = {"key": "k", "reference": "r", "info": {"first_name": "Ann"}, "tags": []}
    answers = [
        client.profile.storing.get(source_key="s", key="k"),
        client.profile.searching.list(source_keys=["s"], page=1, limit=30, tags_excluded=[[{"name": "sync", "value": "1"}]]),
        client.profile.storing.edit(source_key="s", key="k", profile_json=profile),
        client.job.storing.get(board_key="b", key="k"),
    ]  # fmt: skip
    return [(answer["code"], answer["data"]["method"], answer["data"]["path"]) for answer in answers]


def sheet():
    made, file = openpyxl.Workbook(), io.BytesIO()
    made.active["A1"] = "ann"
    made.save(file)
    return openpyxl.load_workbook(file).active["A1"].value


def xml():
    out = io.BytesIO()
    with et_xmlfile.xmlfile(out) as file, file.element("a"):
        file.write("b")
    return out.getvalue().decode()


def workflow(settings: dict):
    url = settings["URL"]
    token = jwt.encode({"sub": "ann"}, "k" * 32, algorithm="HS256")
    summer = datetime.datetime(2024, 7, 1, 12)
    return {
        "hrflow": hrflow(url),
        "hrflow schemas": HrFlowProfile.__name__,
        "requests": requests.get(f"{url}/echo?r", timeout=10).json()["path"],
        "urllib3": urllib3.PoolManager().request("GET", f"{url}/echo?3").json()["path"],
        "jwt": jwt.decode(token, "k" * 32, algorithms=["HS256"]),
        "pydantic": Profile(name="ann", age="30").dict(),
        "jinja2": jinja2.Template("Hi {{ name|upper }}").render(name="ann"),
        "markupsafe": str(markupsafe.escape("<a>")),
        "bs4": bs4.BeautifulSoup("<p>a<b>c</b></p>", "html.parser").b.text,
        "soupsieve": soupsieve.select_one("b", bs4.BeautifulSoup("<b>d</b>", "html.parser")).text,
        "xmltodict": xmltodict.parse("<a><b>1</b></a>"),
        "dateutil": dateutil.parser.parse("2024-01-31 10:00").isoformat(),
        "relativedelta": str(datetime.date(2024, 1, 31) + dateutil.relativedelta.relativedelta(months=1)),
        "dateutil zone": str(summer.replace(tzinfo=dateutil.tz.gettz("Europe/Paris")).utcoffset()),
        "pytz": pytz.timezone("Europe/Paris").localize(summer).isoformat(),
        "tzdata": len(tzdata.IANA_VERSION) > 0,
        "openpyxl": sheet(),
        "et_xmlfile": xml(),
        "tqdm": list(tqdm.tqdm([1, 2], disable=True)),
        "certifi": "BEGIN CERTIFICATE" in open(certifi.where()).read(),
        "charset_normalizer": charset_normalizer.from_bytes(b"ascii").best().encoding,
        "idna": idna.encode("münchen.de").decode(),
        "typing_extensions": typing_extensions.get_origin(typing_extensions.Annotated[int, 1]).__name__,
    }
