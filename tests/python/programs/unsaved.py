import datetime


def workflow(settings: dict):
    settings["COUNT"] = 1
    settings["LAST_RUN"] = {"at": datetime.date(2024, 1, 2)}
