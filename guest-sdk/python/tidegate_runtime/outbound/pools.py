"""urllib3 over `client`: its own connect, and its own names for what can go wrong."""

import queue
import socket
import sys

from . import whole
from .errors import ConnectTimeout
from .wire import PROXIES, Wire


def install():
    try:
        import urllib3.connection as connection
        import urllib3.connectionpool as pool
    except ImportError:
        return
    plain = connection.HTTPConnection
    secure = connection.HTTPSConnection
    plain.connect = _connect
    plain.is_connected = property(lambda self: self.sock is not None)
    for kind in (plain, secure):
        kind._tidegate_scheme = "http" if kind is plain else "https"
    secure.connect = _connect
    pool.ConnectionPool.QueueCls = _Kept
    pool._close_pool_connections = _close_all
    whole.install(connection)
    _translate(plain, "request")
    _translate(plain, "getresponse")
    if hasattr(plain, "request_chunked"):
        _translate(plain, "request_chunked")
    pool.is_connection_dropped = lambda connection: connection.sock is None
    for module in (connection, pool, sys.modules.get("urllib3.util.connection")):
        if module is not None and hasattr(module, "HAS_IPV6"):
            module.HAS_IPV6 = False


class _Kept(queue.LifoQueue):
    """A pool's connections. There are no threads, so that nobody else is at it."""

    def put(self, item, block=True, timeout=None):
        if self.is_shutdown or 0 < self.maxsize <= len(self.queue):
            super().put(item, block, timeout)
            return
        self.queue.append(item)
        self.unfinished_tasks += 1

    def get(self, block=True, timeout=None):
        if self.queue:
            return self.queue.pop()
        if not block and not self.is_shutdown:
            raise queue.Empty
        return super().get(block, timeout)


def _close_all(kept):
    """Closes the connections of a pool that is given up."""
    connections = kept.queue[::-1]
    kept.queue.clear()
    for connection in connections:
        if connection:
            connection.close()


def _connect(self):
    if getattr(self, "proxy", None) or self._tunnel_host:
        raise OSError(PROXIES)
    host = getattr(self, "_dns_host", self.host).rstrip(".")
    self.sock = Wire(self._tidegate_scheme, host, self.port, self.timeout)
    if self._tidegate_scheme == "https":
        self.is_verified = True


def _translate(kind, name):
    """Wraps a method so that connecting fails in urllib3's words.

    The host connects when the request is on its way, which is later than urllib3 does.
    """
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    try:
        from urllib3.exceptions import NameResolutionError
    except ImportError:  # urllib3 1.26
        NameResolutionError = None
    method = getattr(kind, name)

    def translated(self, *arguments, **options):
        try:
            return method(self, *arguments, **options)
        except socket.gaierror as error:
            if NameResolutionError is not None:
                raise NameResolutionError(self.host, self, error) from error
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        except ConnectTimeout as error:
            raise ConnectTimeoutError(
                self,
                f"Connection to {self.host} timed out. (connect timeout={self.timeout})",
            ) from error
        except (ConnectionRefusedError, PermissionError) as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    translated.__name__ = name
    setattr(kind, name, translated)
