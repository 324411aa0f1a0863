"""urllib3's requests handed over whole: no head is serialised to be taken apart again.

What is out of the ordinary (a body in parts, a name or value that is not plain ASCII, a
length of the program's own, a class derived from urllib3's, debug output) goes the long
way through `http.client`, whose checks and errors it then has.
"""

import http.client
import re

from .exchange import CONNECTION_HEADERS

_CONNECTION_HEADERS = frozenset(name.decode() for name in CONNECTION_HEADERS)
_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch

# What `http.client` keeps of a connection, under names of its own.
_STATE, _RESPONSE = "_HTTPConnection__state", "_HTTPConnection__response"


def install(connection):
    """Gives the classes of `urllib3.connection` a `request` that takes the short way."""
    from urllib3.util import request as details

    try:
        options = connection._ResponseOptions
        agent = connection._get_default_user_agent
        bodiless = details._METHODS_NOT_EXPECTING_BODY
    except AttributeError:  # urllib3 1.26
        return
    kinds = (connection.HTTPConnection, connection.HTTPSConnection)
    connection.HTTPConnection.request = _short_way(
        connection.HTTPConnection.request, kinds, options, agent, bodiless
    )
    # The host has parsed the head, and well: there is nothing to find in it.
    connection.assert_header_parsing = lambda headers: None


def _short_way(long_way, kinds, options, agent, bodiless):
    def request(
        self,
        method,
        url,
        body=None,
        headers=None,
        *,
        chunked=False,
        preload_content=True,
        decode_content=True,
        enforce_content_length=True,
    ):
        plain = (
            not chunked
            and headers is not None
            and type(self) in kinds
            and not self.debuglevel
            and _is_ready(self)
            and _is_target(url)
            and _is_token(method)
            and _plain(method, body, headers, agent, bodiless)
        )
        if not plain:
            return long_way(
                self, method, url, body, headers, chunked=chunked,
                preload_content=preload_content, decode_content=decode_content,
                enforce_content_length=enforce_content_length,
            )  # fmt: skip
        self._response_options = options(
            request_method=method,
            request_url=url,
            preload_content=preload_content,
            decode_content=decode_content,
            enforce_content_length=enforce_content_length,
        )
        self._method = method
        setattr(self, _STATE, http.client._CS_REQ_SENT)
        if self.sock is None:
            self.connect()
        else:
            self.sock.settimeout(self.timeout)
        self.sock.send_whole(method, url, *plain)

    return request


def _is_ready(connection):
    """Whether nothing is left of the request before."""
    response = getattr(connection, _RESPONSE)
    if response is not None:
        if not response.isclosed():
            return False
        setattr(connection, _RESPONSE, None)
    return getattr(connection, _STATE) == http.client._CS_IDLE


def _is_target(url):
    return url.startswith("/") and _is_plain(url) and " " not in url


def _is_plain(text):
    """Whether it is ASCII without control characters."""
    return text.isascii() and text.isprintable()


def _plain(method, body, headers, agent, bodiless):
    """The header fields and the body, in bytes; `None` if anything about them is special."""
    if type(body) is str:
        body = body.encode()
    elif body is not None and type(body) is not bytes:
        return None
    length = None
    if body is not None:
        length = str(len(body))
    elif method.upper() not in bodiless:
        length = "0"
    fields, names = [], set()
    for name, value in headers.items():
        if type(name) is not str or type(value) is not str:
            return None
        if not _is_token(name) or not _is_plain(value) or value.startswith("@@@"):
            return None  # The last is how urllib3 is told to leave out a header.
        lower = name.lower()
        names.add(lower)
        if lower == "content-length" and value != length or lower == "transfer-encoding":
            return None
        if lower not in _CONNECTION_HEADERS:
            fields.append((name, value.strip().encode()))
    own = []
    if "accept-encoding" not in names:
        own.append(("Accept-Encoding", b"identity"))
    if length is not None and "content-length" not in names:
        own.append(("Content-Length", length.encode()))
    if "user-agent" not in names:
        own.append(("User-Agent", agent().encode()))
    return own + fields, body
