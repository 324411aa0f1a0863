import datetime
import unittest
from pathlib import Path

import tidegate

HERE = Path(__file__).parent
WORKFLOW = HERE / "workflow.py"


def interview(number, days):
    on = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=days)
    return {"id": f"i-{number}", "candidate": "Ada", "with": "Grace", "on": on.isoformat()}


class Reminders(unittest.TestCase):
    def test_next_ones_are_told_once(self):
        interviews = [interview(1, -5), interview(2, 1), interview(3, 2), interview(4, 9)]
        settings = {"INTERVIEWS": interviews, "DAYS_AHEAD": 3, "TOLD": ["i-3"], "TIMEZONE": "UTC"}
        first = tidegate.pull(WORKFLOW, settings=settings)
        self.assertEqual(first.value, {"reminders": ["i-2"]})
        self.assertEqual(first.changes, {"TOLD": ["i-2", "i-3"]})
        second = tidegate.pull(WORKFLOW, settings=first.settings)
        self.assertEqual((second.value, second.changes), ({"reminders": []}, {}))

    def test_sample_settings(self):
        settings = tidegate.read_settings(HERE / "settings.json")
        self.assertEqual(tidegate.pull(WORKFLOW, settings=settings).value, {"reminders": ["i-2"]})


if __name__ == "__main__":
    unittest.main()
