"""Copies new profiles from HrFlow.ai to an applicant tracking system.

A profile that was copied gets a tag, and only profiles without it are looked for. What
is under way is written down before it is sent, and sent under an id of its own: after a
crash at any point the next run sends the same profiles under the same id, which the ATS
recognises, and goes on tagging. So no profile is lost and none arrives twice.
"""

import logging
import uuid

import requests
from hrflow import Hrflow

SYNCED = {"name": "sync", "value": "1"}
FIELDS = ("first_name", "last_name", "email", "phone", "date_birth", "gender", "summary")
PAGE = 30

logger = logging.getLogger(__name__)


def workflow(settings: dict) -> dict:
    client = Hrflow(
        api_secret=settings["API_KEY"],
        api_user=settings["USER_EMAIL"],
        api_url=settings.get("API_URL", "https://api.hrflow.ai/v1/"),
    )
    source = settings["SOURCE_KEY"]

    if "BATCH" not in settings:
        keys = find_new(client, source)
        if not keys:
            return {"synced": 0}
        settings["BATCH"] = {"id": str(uuid.uuid4()), "keys": keys}
        settings.save()
    else:
        logger.warning("going on with batch %s", settings["BATCH"]["id"])

    batch = settings["BATCH"]
    profiles = [fetch(client, source, key) for key in batch["keys"]]
    send_to_ats(profiles, batch["id"], settings)
    for profile in profiles:
        tag(client, source, profile)
    del settings["BATCH"]
    logger.info("synced %d profiles", len(profiles))
    return {"synced": len(profiles)}


def find_new(client: Hrflow, source: str) -> list:
    """The keys of a page of profiles that are not tagged yet."""
    response = client.profile.searching.list(
        source_keys=[source], page=1, limit=PAGE, tags_excluded=[[SYNCED]]
    )
    data = checked(response, "search profiles")
    return [profile["key"] for profile in data["profiles"]]


def fetch(client: Hrflow, source: str, key: str) -> dict:
    return checked(client.profile.indexing.get(source_key=source, key=key), f"read {key}")


def send_to_ats(profiles: list, batch: str, settings: dict) -> None:
    people = [
        {"reference": profile["key"], **{field: profile["info"][field] for field in FIELDS}}
        for profile in profiles
    ]
    response = requests.post(
        settings["ATS_URL"],
        headers={"X-API-KEY": settings["ATS_API_KEY"], "Idempotency-Key": batch},
        json={"profiles": people},
        timeout=30,
    )
    if response.status_code != 200:
        raise ConnectionError(f"the ATS answered {response.status_code}")


def tag(client: Hrflow, source: str, profile: dict) -> None:
    tags = profile.get("tags") or []
    if SYNCED in tags:
        return
    profile["tags"] = [*tags, SYNCED]
    response = client.profile.indexing.edit(
        source_key=source, key=profile["key"], profile_json=profile
    )
    checked(response, f"tag {profile['key']}")


def checked(response: dict, task: str) -> dict:
    """The data of an answer. The SDK does not raise for an error: its code says so."""
    if response["code"] != 200:
        raise ConnectionError(f"HrFlow.ai could not {task}: {response['message']}")
    return response["data"]
