"""Runs when its schedule says, in a fresh sandbox."""

from datetime import datetime, timezone


def workflow(settings: dict) -> dict:
    """Runs once for each due instant.

    `settings` holds what `tidegate settings` sets; what is assigned to it is saved when
    the run succeeds, so it is the place for a cursor. What is returned is kept in the
    run's record.
    """
    last = settings.get("LAST_RUN")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    print(f"last run: {last or 'never'}")
    settings["LAST_RUN"] = now
    return {"from": last, "to": now}
