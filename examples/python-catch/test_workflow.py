import unittest
from pathlib import Path

import tidegate

HERE = Path(__file__).parent
WORKFLOW = HERE / "workflow.py"
SETTINGS = tidegate.read_settings(HERE / "settings.json")


class Applications(unittest.TestCase):
    def test_sample_is_received_and_counted(self):
        sample = tidegate.read_request(HERE / "request.json")
        run = tidegate.catch(WORKFLOW, sample, settings={**SETTINGS, "RECEIVED": 6})
        self.assertEqual(run.reply.status, 201)
        self.assertEqual(run.reply.json(), {"number": 7, "thanks": "Ada Martin"})
        self.assertEqual(run.changes, {"RECEIVED": 7})

    def test_form_is_taken_too(self):
        form = {"name": "Ada", "email": "ada@example.com", "job": "nurse"}
        run = tidegate.catch(
            WORKFLOW, form, content_type="application/x-www-form-urlencoded", settings=SETTINGS
        )
        self.assertEqual(run.reply.status, 201)

    def test_missing_fields_are_named(self):
        run = tidegate.catch(WORKFLOW, {"name": "Ada"}, settings=SETTINGS)
        self.assertEqual(run.reply.status, 400)
        self.assertEqual(run.reply.json(), {"error": "missing: email, job"})
        self.assertEqual(run.changes, {})

    def test_closed_job_is_refused(self):
        body = {"name": "Ada", "email": "ada@example.com", "job": "pilot"}
        run = tidegate.catch(WORKFLOW, body, settings=SETTINGS)
        self.assertEqual((run.reply.status, run.reply.json()["error"]), (422, "pilot is not open"))


if __name__ == "__main__":
    unittest.main()
