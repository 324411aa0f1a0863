"""Uses every package of the default runtime once. `settings["URL"]` plays all services."""

import datetime
import zoneinfo

import bs4
import certifi
import charset_normalizer
import dateutil.parser
import dateutil.relativedelta
import dateutil.tz
import idna
import jinja2
import jwt
import mailchimp_transactional
import markupsafe
import pydantic
import pytz
import requests
import six
import soupsieve
import typing_extensions
import tzdata
import urllib3
import websocket
import xmltodict
from hrflow import Hrflow
from selenium import webdriver
from twilio.rest import Client


class Profile(pydantic.BaseModel):
    name: str
    age: int = 0


def through(url, base):
    """Sends what a package addresses to `base` to `url` instead."""
    send = requests.Session.send

    def redirected(self, request, **options):
        request.url = request.url.replace(base, url)
        return send(self, request, **options)

    requests.Session.send = redirected
    return send


def hrflow(url):
    client = Hrflow(api_url=f"{url}/v1/", api_secret="secret", api_user="ann@corp.example")
    got = client.profile.indexing.get(source_key="s", key="k")
    found = client.profile.searching.list(
        source_keys=["s"], page=1, limit=30, tags_excluded=[[{"name": "sync", "value": "1"}]]
    )
    edited = client.profile.indexing.edit(source_key="s", key="k", profile_json={"tags": []})
    stored = client.profile.storing.list(source_keys=["s"], page=1, limit=30)
    answers = (got, found, edited, stored)
    return [(answer["code"], answer["data"]["method"], answer["data"]["path"]) for answer in answers]


def twilio(url):
    send = through(url, "https://api.twilio.com")
    try:
        message = Client("AC" + "0" * 32, "token").messages.create(to="+1", from_="+2", body="hi")
    finally:
        requests.Session.send = send
    return message.sid, message.status


def mailchimp(url):
    send = through(url, "https://mandrillapp.com")
    try:
        client = mailchimp_transactional.Client("key")
        return client.messages.send({"message": {"text": "x", "to": [{"email": "a@b.example"}]}})[0]["status"]
    finally:
        requests.Session.send = send


def browser(url):
    driver = webdriver.Remote(f"{url}/wd", options=webdriver.ChromeOptions())
    driver.get("http://page.example/")
    title = driver.title
    driver.quit()
    return title


def websocket_url():
    # A dependency of selenium that has nothing to connect with here, and says so.
    try:
        return websocket.create_connection("ws://127.0.0.1:1/")
    except OSError as error:
        return "raw sockets are not available" in str(error)


def workflow(settings: dict):
    url = settings["URL"]
    token = jwt.encode({"sub": "ann"}, "k" * 32, algorithm="HS256")
    summer = datetime.datetime(2024, 7, 1, 12)
    return {
        "hrflow": hrflow(url),
        "twilio": twilio(url),
        "mailchimp": mailchimp(url),
        "selenium": browser(url),
        "requests": requests.get(f"{url}/echo?r", timeout=10).json()["path"],
        "urllib3": urllib3.PoolManager().request("GET", f"{url}/echo?3").json()["path"],
        "websocket": websocket_url(),
        "jwt": jwt.decode(token, "k" * 32, algorithms=["HS256"]),
        "pydantic": Profile(name="ann", age="30").dict(),
        "jinja2": jinja2.Template("Hi {{ name|upper }}").render(name="ann"),
        "bs4": bs4.BeautifulSoup("<p>a<b>c</b></p>", "html.parser").b.text,
        "xmltodict": xmltodict.parse("<a><b>1</b></a>"),
        "dateutil": dateutil.parser.parse("2024-01-31 10:00").isoformat(),
        "dateutil zone": str(summer.replace(tzinfo=dateutil.tz.gettz("Europe/Paris")).utcoffset()),
        "relativedelta": str(datetime.date(2024, 1, 31) + dateutil.relativedelta.relativedelta(months=1)),
        "pytz": pytz.timezone("Europe/Paris").localize(summer).isoformat(),
        "zoneinfo": summer.replace(tzinfo=zoneinfo.ZoneInfo("America/New_York")).isoformat(),
        "tzdata": len(tzdata.IANA_VERSION) > 0,
        "certifi": "BEGIN CERTIFICATE" in open(certifi.where()).read(),
        "charset_normalizer": charset_normalizer.from_bytes(b"ascii").best().encoding,
        "idna": idna.encode("münchen.de").decode(),
        "markupsafe": str(markupsafe.escape("<a>")),
        "six": six.ensure_text(b"a"),
        "soupsieve": soupsieve.select_one("b", bs4.BeautifulSoup("<b>d</b>", "html.parser")).text,
        "typing_extensions": typing_extensions.get_origin(typing_extensions.Annotated[int, 1]).__name__,
    }
