"""requests over `pools`: nothing but what it does with files of certificates."""

from ..sandbox.tls import NO_CLIENT_CERTIFICATES


def install():
    try:
        import requests.adapters
    except ImportError:
        return
    requests.adapters.HTTPAdapter.cert_verify = _cert_verify


def _cert_verify(self, connection, url, verify, cert):
    """Takes any `verify`: the host's operator decides which authorities are trusted."""
    if cert:
        raise OSError(NO_CLIENT_CERTIFICATES)
    connection.cert_reqs = "CERT_REQUIRED"
    connection.ca_certs = connection.ca_cert_dir = None
