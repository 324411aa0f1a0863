"""The host's error codes as the exceptions that sockets and `ssl` raise."""

import errno
import http.client
import socket
import ssl

#: What to do about a certificate that the host does not trust.
_TRUST = "the host verifies every certificate: its operator can add an authority"


class ConnectTimeout(TimeoutError):
    """No connection in time, as opposed to no answer in time."""


# To the program it is what the standard library raises.
ConnectTimeout.__module__, ConnectTimeout.__qualname__ = "builtins", "TimeoutError"
ConnectTimeout.__name__ = "TimeoutError"


def exception(code, host, port):
    """The exception for an error code of `wasi:http`, about `host` and `port`."""
    name = type(code).__name__.removeprefix("ErrorCode_")
    place = f"{host}:{port}" if port else host
    detail = _detail(getattr(code, "value", None))
    if name in ("DnsTimeout", "DnsError", "DestinationNotFound"):
        return socket.gaierror(
            socket.EAI_NONAME, f"Name or service not known: {host!r}{detail}"
        )
    if name in ("HttpRequestDenied", "DestinationIpProhibited"):
        return PermissionError(
            errno.EACCES, f"the host's egress policy refuses requests to {place}{detail}"
        )
    if name in ("ConnectionRefused", "DestinationUnavailable"):
        return ConnectionRefusedError(errno.ECONNREFUSED, f"Connection refused by {place}")
    if name == "DestinationIpUnroutable":
        return OSError(errno.EHOSTUNREACH, f"No route to {place}")
    if name == "ConnectionTimeout":
        return ConnectTimeout(errno.ETIMEDOUT, f"Connection to {place} timed out")
    if name in ("ConnectionReadTimeout", "ConnectionWriteTimeout", "HttpResponseTimeout"):
        return TimeoutError("timed out")
    if name == "TlsCertificateError":
        return ssl.SSLCertVerificationError(
            1, f"certificate verify failed for {place}{detail} ({_TRUST})"
        )
    if name.startswith("Tls"):
        return ssl.SSLError(1, f"TLS with {place} failed: {name}{detail}")
    if name in ("ConnectionTerminated", "HttpResponseIncomplete"):
        return http.client.RemoteDisconnected(
            f"Remote end closed connection without response: {place}"
        )
    if name == "HttpProtocolError":
        return http.client.BadStatusLine(f"{place} did not answer in HTTP")
    if name.startswith("HttpResponse"):
        return http.client.HTTPException(f"response of {place}: {_words(name)}{detail}")
    return OSError(errno.EIO, f"HTTP request to {place} failed: {_words(name)}{detail}")


def is_cut(code):
    """Whether an error code, told while a body is read, says that it ended too early."""
    name = type(code).__name__
    return name in ("ErrorCode_ConnectionTerminated", "ErrorCode_HttpResponseIncomplete")


def is_connecting(error):
    """Whether the exception tells of a request that never reached its server."""
    kinds = (socket.gaierror, ConnectionRefusedError, PermissionError, ConnectTimeout, ssl.SSLError)
    return isinstance(error, kinds) or error.errno == errno.EHOSTUNREACH


def _words(name):
    """``HttpResponseBodySize`` as ``http response body size``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def _detail(value):
    if value is None:
        return ""
    fields = getattr(value, "__dict__", None)
    if fields is not None:
        value = ", ".join(f"{key} {field}" for key, field in fields.items() if field is not None)
    return f" ({value})" if value != "" else ""
