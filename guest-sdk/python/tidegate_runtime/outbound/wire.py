"""What a connection has in the place of a socket."""

import errno
import io
import socket

from .exchange import CONNECTION_HEADERS, Exchange

PROXIES = "HTTP proxies are not available in this sandbox: the host sends requests itself"


class Wire:
    """Carries one exchange after another to one server.

    It is given a request's head as `http.client` serialised it, then the body, and
    `makefile` has the response's body as it would be on a connection.
    """

    def __init__(self, scheme, host, port, timeout):
        self._scheme = scheme
        self._host = host
        self._port = port
        self._exchange = None
        self._chunks = None
        self._left = 0
        self.settimeout(timeout)

    def begin(self, lines):
        """Sends a request's head: the request line and a line for each header, as bytes."""
        method, target, _ = lines[0].decode("latin-1").split(" ", 2)
        headers, length, chunked = [], 0, False
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            lower, value = name.lower(), value.strip()
            if lower == b"content-length":
                length = int(value)
            elif lower == b"transfer-encoding":
                chunked = b"chunked" in value.lower()
            if lower not in CONNECTION_HEADERS:
                # A folded value (RFC 9112 section 5.2) is one line to the host.
                headers.append((name.decode("latin-1"), value.replace(b"\r\n\t", b" ")))
        if chunked:
            headers = [pair for pair in headers if pair[0].lower() != "content-length"]
        if not target.startswith("/"):
            target = _origin_form(target)
        self._left = length
        self._chunks = _Chunks() if chunked else None
        self._exchange = Exchange(
            method, self._scheme, self._host, self._port, target, headers,
            chunked or length > 0, self.timeout,
        )  # fmt: skip

    def send_whole(self, method, target, headers, body):
        """Sends a request at once. `headers` are pairs of str and bytes, `body` is bytes or
        `None`."""
        self._chunks, self._left = None, 0
        self._exchange = Exchange(
            method, self._scheme, self._host, self._port, target, headers,
            bool(body), self.timeout,
        )  # fmt: skip
        if body:
            self._exchange.write(body, self.timeout)
            self._exchange.finish()

    @property
    def framed(self):
        """Whether what is sent as body has chunk framing that is to be taken off."""
        return self._chunks is not None

    def send_plain(self, data):
        """Sends a part of the body that has no framing."""
        self._exchange.write(data, self.timeout)

    def finish(self):
        """Ends the body."""
        self._chunks = None
        self._left = 0
        self._exchange.finish()

    def sendall(self, data, flags=0):
        """Sends a part of the body as a library would write it to a connection."""
        if self._exchange is None:
            raise OSError(errno.EOPNOTSUPP, "only HTTP can be sent over this connection")
        if self._chunks is None:
            self._exchange.write(data, self.timeout)
            self._left -= len(data)
            if self._left <= 0:
                self.finish()
            return
        for chunk in self._chunks.feed(data):
            if chunk:
                self._exchange.write(chunk, self.timeout)
            else:
                self.finish()

    def send(self, data, flags=0):
        self.sendall(data)
        return len(data)

    def head(self):
        """Waits for the response: the exchange, status, and headers."""
        status, pairs = self._exchange.head(self.timeout)
        return self._exchange, status, pairs

    def makefile(self, mode="rb", buffering=None, **options):
        """The response's body. Its `raw` is this wire's `Body`."""
        if self._exchange is None:
            raise OSError(errno.ENOTCONN, "no request was sent")
        return io.BufferedReader(Body(self, self._exchange), 64 * 1024)

    def settimeout(self, timeout):
        if timeout is socket._GLOBAL_DEFAULT_TIMEOUT:
            timeout = socket.getdefaulttimeout()
        self.timeout = timeout

    def gettimeout(self):
        return self.timeout

    # What libraries do to a socket and what means nothing here.

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def setsockopt(self, *arguments):
        pass

    def getsockopt(self, *arguments):
        return 0

    def setblocking(self, flag):
        pass

    def getpeername(self):
        return (self._host, self._port)

    def getsockname(self):
        return ("0.0.0.0", 0)

    def getpeercert(self, binary_form=False):
        return b"" if binary_form else {}

    def selected_alpn_protocol(self):
        return None

    def version(self):
        return "TLSv1.3" if self._scheme == "https" else None

    def cipher(self):
        return None

    def fileno(self):
        return -1

    def shutdown(self, how):
        pass

    def close(self):
        # A response may still be read: its body's file closes the exchange.
        self._exchange = None

    def recv(self, length, flags=0):
        raise OSError(errno.EOPNOTSUPP, "only HTTP can be read from this connection")


class Body(io.RawIOBase):
    """A response's body as raw bytes, in chunk framing if `framed` says so.

    Without a length libraries either wait for the whole body or follow its chunks. So
    that they see data when it comes, such a body gets a chunk for each read.
    """

    def __init__(self, wire, exchange):
        self._wire = wire
        self._exchange = exchange
        self._pending = b""
        self._ended = False
        self.framed = False

    def head(self):
        """Waits for the response's status and headers."""
        return self._exchange.head(self._wire.timeout)

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self.framed:
            data = self._exchange.read(len(buffer), self._wire.timeout)
            buffer[: len(data)] = data
            return len(data)
        if not self._pending and not self._ended:
            data = self._exchange.read(64 * 1024, self._wire.timeout)
            self._ended = not data
            # What was cut off has no last chunk.
            if not self._exchange.cut:
                self._pending = b"%x\r\n%b\r\n" % (len(data), data)
        data = self._pending[: len(buffer)]
        self._pending = self._pending[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        if not self.closed:
            self._exchange.close()
        super().close()


class _Chunks:
    """Takes the framing off a chunked body (RFC 9112 section 7.1)."""

    def __init__(self):
        self._buffer = bytearray()

    def feed(self, data):
        """The whole chunks so far; an empty one is the end."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return
            size = int(bytes(self._buffer[:end]).partition(b";")[0], 16)
            if len(self._buffer) < end + 2 + size + 2:
                return
            chunk = bytes(self._buffer[end + 2 : end + 2 + size])
            del self._buffer[: end + 2 + size + 2]
            yield chunk
            if not chunk:
                return


def _origin_form(target):
    """The path and query of a request target that is a whole URL."""
    _, separator, rest = target.partition("://")
    if not separator:
        return target
    _, slash, path = rest.partition("/")
    return slash + path or "/"
