"""No sockets: HTTP goes through the host, everything else is refused."""

import errno
import socket

MESSAGE = (
    "raw sockets are not available in this sandbox: "
    "use requests, urllib or http.client, which send HTTP through the host"
)

_FUNCTIONS = (
    "create_connection create_server fromfd socketpair getaddrinfo gethostbyname "
    "gethostbyname_ex gethostbyaddr getnameinfo if_nameindex"
).split()


class Socket(socket.socket):
    """A socket class that exists, for `isinstance` and subclasses, and never opens."""

    def __init__(self, *arguments, **options):
        raise OSError(errno.EOPNOTSUPP, MESSAGE)


def install():
    for name in _FUNCTIONS:
        setattr(socket, name, _refuse)
    socket.socket = socket.SocketType = Socket
    socket.gethostname = lambda: "tidegate"
    socket.getfqdn = lambda name="": name or "tidegate"
    socket.has_ipv6 = False
    socket.has_dualstack_ipv6 = lambda: False


def _refuse(*arguments, **options):
    raise OSError(errno.EOPNOTSUPP, MESSAGE)
