import base64
import hashlib
import hmac
import json
import unittest
from pathlib import Path

import tidegate

HERE = Path(__file__).parent
WORKFLOW = HERE / "workflow.py"
SETTINGS = tidegate.read_settings(HERE / "settings.json")
BODY = '{"type": "profile.indexing.success", "score": 1.10, "profile": {"key": "p-1"}}'


def mac(data):
    return hmac.new(SETTINGS["WEBHOOK_SECRET"].encode(), data, hashlib.sha256)


def encode(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def status(signature, body=BODY):
    headers = {"content-type": "application/json"}
    if signature is not None:
        headers["HTTP-HRFLOW-SIGNATURE"] = signature
    return tidegate.catch(WORKFLOW, body, headers=headers, settings=SETTINGS).reply.status


class Signatures(unittest.TestCase):
    def test_sample_is_signed(self):
        sample = tidegate.read_request(HERE / "request.json")
        run = tidegate.catch(WORKFLOW, sample, settings=SETTINGS)
        self.assertEqual(run.reply.json(), {"received": "profile.indexing.success"})

    def test_every_published_form(self):
        raw = BODY.encode()
        self.assertEqual(status(mac(raw).hexdigest()), 200)
        self.assertEqual(status(f"{encode(mac(raw).hexdigest().encode())}.{encode(raw)}"), 200)
        self.assertEqual(status(f"{encode(mac(encode(raw).encode()).digest())}.{encode(raw)}"), 200)

    def test_payload_may_be_spelt_in_another_way(self):
        raw = json.dumps(json.loads(BODY), indent=1).encode()
        self.assertEqual(status(f"{encode(mac(raw).hexdigest().encode())}.{encode(raw)}"), 200)

    def test_everything_else_is_refused(self):
        raw, other = BODY.encode(), b'{"type": "x", "profile": {"key": "p-2"}}'
        for signature in (
            None,
            "",
            "abc",
            ".",
            "a.b",
            "=.=",
            mac(other).hexdigest(),
            f"{encode(mac(other).hexdigest().encode())}.{encode(other)}",
            f"{encode(mac(other).hexdigest().encode())}.{encode(raw)}",
        ):
            self.assertEqual(status(signature), 401, signature)


if __name__ == "__main__":
    unittest.main()
