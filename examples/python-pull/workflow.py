"""Looks every morning which interviews come next, and says so once for each."""

import datetime
import logging
import zoneinfo

logger = logging.getLogger(__name__)


def due(interviews: list, today: datetime.date, days: int) -> list:
    """The interviews from today to so many days ahead."""
    last = today + datetime.timedelta(days=days)
    return [
        interview
        for interview in interviews
        if today <= datetime.date.fromisoformat(interview["on"]) <= last
    ]


def workflow(settings: dict) -> dict:
    zone = zoneinfo.ZoneInfo(settings.get("TIMEZONE", "UTC"))
    today = datetime.datetime.now(zone).date()
    told = set(settings.get("TOLD", []))

    reminders = []
    for interview in due(settings["INTERVIEWS"], today, settings.get("DAYS_AHEAD", 1)):
        if interview["id"] in told:
            continue
        logger.info("%s meets %s on %s", interview["candidate"], interview["with"], interview["on"])
        reminders.append(interview["id"])

    # What is assigned to settings is there at the next run: nobody is reminded twice.
    settings["TOLD"] = sorted(told | set(reminders))
    return {"reminders": reminders}
