"""Takes webhooks of HrFlow.ai, and only those: their signature is verified.

Three forms of the header have been published; each is accepted. `_request.raw` is the
body as it was sent, which is what a signature is about.
"""

import base64
import binascii
import hashlib
import hmac
import json


def workflow(_request: dict, settings: dict) -> dict:
    signature = _request.headers.get("HTTP-HRFLOW-SIGNATURE", "")
    if not is_signed(signature, _request.raw, settings["WEBHOOK_SECRET"]):
        print("refused a request whose signature is wrong or missing")
        return answer(401, error="the signature is wrong")
    print(f"{_request['type']} of profile {_request['profile']['key']}")
    return answer(200, received=_request["type"])


def is_signed(signature: str, body: bytes, secret: str) -> bool:
    """Whether the signature is that of this body, in one of the published forms."""
    key = secret.encode()
    mac, separator, payload = signature.partition(".")
    if not separator:
        return hmac.compare_digest(digest(key, body).hex(), signature.lower())
    try:
        given, signed = decode(mac), decode(payload)
    except (binascii.Error, ValueError):
        return False
    # The signature covers the payload within the header: it must be the body, too.
    if not same_json(signed, body):
        return False
    over_json = digest(key, signed).hex().encode()
    over_payload = digest(key, payload.encode())
    return hmac.compare_digest(given, over_json) or hmac.compare_digest(given, over_payload)


def digest(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def answer(status: int, **body) -> dict:
    return dict(
        status_code=status,
        headers={"Content-Type": "application/json"},
        body=json.dumps(body),
    )
