"""`http.client` over a wire in the place of a socket."""

import http
import http.client
import io
import urllib.error
import urllib.request

from .errors import is_connecting
from .wire import PROXIES, Body, Wire

_begin = http.client.HTTPResponse.begin
_do_open = urllib.request.AbstractHTTPHandler.do_open
#: Headers of one connection: the host has done what they say.
_DROPPED = frozenset(("transfer-encoding", "connection", "keep-alive", "proxy-connection"))
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class Message(http.client.HTTPMessage):
    """Headers that the host has parsed, so that reading them is no work."""

    def items(self):
        return list(self._headers)


# To the program it is what the standard library makes.
Message.__module__, Message.__qualname__ = "http.client", "HTTPMessage"
Message.__name__ = "HTTPMessage"


def install():
    http.client.HTTPConnection.connect = _connect
    http.client.HTTPSConnection.connect = _connect_tls
    http.client.HTTPConnection._send_output = _send_output
    http.client.HTTPResponse.begin = _begin_response
    urllib.request.AbstractHTTPHandler.do_open = _open


def _connect(self):
    self.sock = _wire(self, "http")


def _connect_tls(self):
    self.sock = _wire(self, "https")


def _wire(connection, scheme):
    if connection._tunnel_host:
        raise OSError(PROXIES)
    return Wire(scheme, connection.host, connection.port, connection.timeout)


def _send_output(self, message_body=None, encode_chunked=False):
    """Sends the head that is buffered, and the body if it is there yet."""
    lines = self._buffer[:]
    del self._buffer[:]
    if self.sock is None:
        if not self.auto_open:
            raise http.client.NotConnected()
        self.connect()
    wire = self.sock
    wire.begin(lines)
    if message_body is None:
        return
    send = wire.sendall if wire.framed and not encode_chunked else wire.send_plain
    for part in _parts(self, message_body):
        if part:
            send(part)
    wire.finish()


def _parts(connection, body):
    if hasattr(body, "read"):
        return connection._read_readable(body)
    try:
        memoryview(body)
    except TypeError:
        if isinstance(body, str):
            return (body.encode("iso-8859-1"),)
        try:
            return iter(body)
        except TypeError:
            raise TypeError(
                f"message_body should be a bytes-like object or an iterable, got {type(body)!r}"
            ) from None
    return (body,)


def _begin_response(self):
    """Reads a response's head: from the host where the body is its, else as ever."""
    body = getattr(self.fp, "raw", None)
    if not isinstance(body, Body):
        _begin(self)
        return
    if self.headers is not None:
        return
    status, pairs = body.head()
    message = Message()
    length = None
    for name, value in pairs:
        if name in _DROPPED:
            continue
        text = value.decode("latin-1")
        if name == "content-length":
            length = int(text) if text.isdigit() else None
        message._headers.append((name.title(), text))
    self.code = self.status = status
    self.reason = _REASONS.get(status, "")
    self.version = 11
    self.will_close = False
    self.chunked = False
    self.chunk_left = None
    if status in (204, 304) or self._method == "HEAD":
        length = 0
    elif length is None:
        body.framed = self.chunked = True
        message._headers.append(("Transfer-Encoding", "chunked"))
    self.length = length
    self.headers = self.msg = message
    if length == 0:
        # No byte will be asked for: give the host its connection back.
        body.close()
        self.fp = io.BytesIO()


def _open(self, http_class, req, **http_conn_args):
    """Sends a request of urllib.request.

    It expects connecting to fail before it waits for the response; the host connects
    in that time.
    """
    try:
        return _do_open(self, http_class, req, **http_conn_args)
    except OSError as error:
        if isinstance(error, urllib.error.URLError) or not is_connecting(error):
            raise
        raise urllib.error.URLError(error) from None
