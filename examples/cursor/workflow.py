"""Reads a feed page by page and remembers how far it came."""

import requests

PAGES_MAX = 50


def workflow(settings: dict) -> dict:
    read = 0
    for _ in range(PAGES_MAX):
        response = requests.get(
            settings["FEED_URL"], params={"after": settings.get("CURSOR", "")}, timeout=10
        )
        response.raise_for_status()
        page = response.json()
        for item in page["items"]:
            print(f"{item['id']}: {item['title']}")
        read += len(page["items"])
        if page["items"]:
            # Saved now: a later page that fails does not have the earlier ones read again.
            settings["CURSOR"] = page["items"][-1]["id"]
            settings.save()
        if not page["more"]:
            break
    return {"read": read, "cursor": settings.get("CURSOR")}
