#!/usr/bin/env python3
"""Makes vectors.json: signed deliveries, by the senders' own libraries.

    pip install standardwebhooks==1.1.0 stripe==16.1.0 slack_sdk==3.47.0
    python3 vectors.py > vectors.json

GitHub and HrFlow publish no library that signs: GitHub's vector is the one of its page on
validating deliveries, HrFlow's are made here as its three published definitions say.
"""

import base64
import datetime
import hashlib
import hmac
import json

from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature

AT = 1_700_000_000
vectors = []


def add(name, scheme, secret, headers, body, at=AT):
    vectors.append(
        {"name": name, "scheme": scheme, "secret": secret, "headers": headers, "body": body, "at": at}
    )


def hexadecimal(secret, data):
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def base64url(data):
    return base64.urlsafe_b64encode(data).decode()


# Standard Webhooks: the specification's example and the reference library.
for secret, body in [
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'),
    ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", '{"type":"user.created","data":{"name":"Zoë"}}'),
    ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""),
]:
    moment = datetime.datetime.fromtimestamp(AT, tz=datetime.timezone.utc)
    signature = Webhook(secret).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", moment, body)
    headers = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": str(AT), "webhook-signature": signature}
    add("standardwebhooks library", "standard-webhooks", secret, headers, body)
    svix = {name.replace("webhook-", "svix-"): value for name, value in headers.items()}
    add("Svix's names of headers", "standard-webhooks", secret, svix, body)
    rotating = {**headers, "webhook-signature": f"v1,{base64.b64encode(bytes(32)).decode()} v1a,abc {signature}"}
    add("several signatures", "standard-webhooks", secret, rotating, body)

# Stripe: what the library computes and verifies.
for secret, body in [("whsec_test_secret", '{"id": "evt_test_webhook", "object": "event"}'), ("x", "{}")]:
    signature = WebhookSignature._compute_signature(f"{AT}.{body}", secret)
    header = f"t={AT},v1={signature},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    assert WebhookSignature.verify_header(body, header, secret, None)
    add("stripe library", "stripe", secret, {"Stripe-Signature": header}, body)
    rotating = f"t={AT},v1={'0' * 64},v1={signature}"
    assert WebhookSignature.verify_header(body, rotating, secret, None)
    add("two secrets", "stripe", secret, {"Stripe-Signature": rotating}, body)

# Slack: the example of its page on verifying requests, and the library.
body = (
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
secret = "8f742231b10e8888abcd99yyyzzz85a5"
signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
assert SignatureVerifier(secret).generate_signature(timestamp="1531420618", body=body) == signature
headers = {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": "1531420618"}
add("the page's example", "slack", secret, headers, body, 1531420618)

# GitHub: the values of its page on validating deliveries.
signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
secret = "It's a Secret to Everybody"
assert signature == "sha256=" + hexadecimal(secret, b"Hello, World!")
add("the page's example", "github", secret, {"X-Hub-Signature-256": signature}, "Hello, World!")

# HrFlow: its three published definitions.
secret, payload = "hrflow-secret", '{"type": "profile.indexing.success", "profile": {"key": "a\\" b"}}'
encoded = base64url(payload.encode())
first = base64url(hexadecimal(secret, payload.encode()).encode()) + "." + encoded
raw = hmac.new(secret.encode(), encoded.encode(), hashlib.sha256).digest()
second = base64url(raw) + "." + encoded
third = hexadecimal(secret, payload.encode())
for number, header in enumerate([first, second, third], 1):
    add(f"variant {number}", "hrflow", secret, {"HTTP-HRFLOW-SIGNATURE": header}, payload)
bare = encoded.rstrip("=")
raw = hmac.new(secret.encode(), bare.encode(), hashlib.sha256).digest()
for number, header in [(1, first.replace("=", "")), (2, base64url(raw).rstrip("=") + "." + bare)]:
    add(f"variant {number} without padding", "hrflow", secret, {"HTTP-HRFLOW-SIGNATURE": header}, payload)
dense = json.dumps(json.loads(payload), separators=(",", ":"))
add("variant 1, the body dense", "hrflow", secret, {"HTTP-HRFLOW-SIGNATURE": first}, dense)
add("variant 2, the body dense", "hrflow", secret, {"HTTP-HRFLOW-SIGNATURE": second}, dense)

print(json.dumps(vectors, indent=1))
