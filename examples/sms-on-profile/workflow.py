"""Sends a text message to HR when HrFlow.ai has indexed a new profile."""

import json

import requests
from hrflow import Hrflow

TEXT = "{first_name} {last_name} just applied! Call {phone}."


def workflow(_request: dict, settings: dict) -> dict:
    profile = fetch_profile(_request["profile"], settings)
    info = profile["info"]
    text = TEXT.format(
        first_name=info["first_name"], last_name=info["last_name"], phone=info["phone"]
    )
    send_message(text, settings)
    return dict(
        status_code=201,
        headers={"Content-Type": "application/json"},
        body=json.dumps({"message": "Message sent"}),
    )


def fetch_profile(announced: dict, settings: dict) -> dict:
    client = Hrflow(
        api_secret=settings["API_KEY"],
        api_user=settings["USER_EMAIL"],
        api_url=settings.get("API_URL", "https://api.hrflow.ai/v1/"),
    )
    # The SDK does not raise for an error: its code says so.
    response = client.profile.indexing.get(
        source_key=announced["source"]["key"], key=announced["key"]
    )
    if response["code"] != 200:
        raise ConnectionError(f"HrFlow.ai has no profile {announced['key']}: {response['message']}")
    return response["data"]


def send_message(text: str, settings: dict) -> None:
    response = requests.post(
        settings["MESSAGE_URL"],
        headers={"X-API-KEY": settings["MESSAGE_API_KEY"]},
        json={"text": text},
        timeout=10,
    )
    if response.status_code != 200:
        raise ConnectionError(f"the messaging service answered {response.status_code}")
