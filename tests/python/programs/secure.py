"""Sends HTTPS to `settings["URL"]`, whatever it says about certificates."""

import ssl
import urllib.error
import urllib.request

import requests


def workflow(settings: dict):
    seen = {}
    for name, options in {"plain": {}, "unverified": {"verify": False}, "bundle": {"verify": "/none.pem"}}.items():
        try:
            seen[name] = requests.get(f"{settings['URL']}/echo", timeout=10, **options).status_code
        except requests.exceptions.SSLError as error:
            seen[name] = "SSLError", "certificate verify failed" in str(error)
    try:
        with urllib.request.urlopen(f"{settings['URL']}/echo", timeout=10) as response:
            seen["urllib"] = response.status
    except urllib.error.URLError as error:
        seen["urllib"] = "URLError", isinstance(error.reason, ssl.SSLCertVerificationError)
    return seen
