"""One request and its response through `wasi:http`."""

import errno
import weakref

from componentize_py_types import Err, Ok
from wit_world.imports import monotonic_clock, outgoing_handler, poll, streams
from wit_world.imports import wasi_http_types as types

from .errors import exception, is_cut

#: Headers that belong to one connection, which is the host's (RFC 9110 section 7.6.1).
CONNECTION_HEADERS = frozenset(
    (b"host", b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization",
     b"transfer-encoding", b"upgrade", b"http2-settings", b"te", b"trailer", b"expect")
)  # fmt: skip

_METHODS = {
    "GET": types.Method_Get(),
    "HEAD": types.Method_Head(),
    "POST": types.Method_Post(),
    "PUT": types.Method_Put(),
    "DELETE": types.Method_Delete(),
    "CONNECT": types.Method_Connect(),
    "OPTIONS": types.Method_Options(),
    "TRACE": types.Method_Trace(),
    "PATCH": types.Method_Patch(),
}
_SCHEMES = {"http": types.Scheme_Http(), "https": types.Scheme_Https()}

#: How much longer than its time-out a response is waited for.
_GRACE_SECONDS = 0.02

#: A child must be dropped before its parent: on any other order the host traps.
_DROP_ORDER = ("input", "incoming_body", "response", "output", "outgoing_body", "future")


class Exchange:
    """Sends when it is made; `head` waits for the response, `read` for its body."""

    def __init__(self, method, scheme, host, port, target, headers, has_body, timeout):
        """`headers` are pairs of str and bytes, `timeout` is seconds or `None`."""
        self.method = method
        self.cut = False
        self._place = (host, port)
        self._broken = False
        self._held = {}
        # Finalizers of a reference cycle run in no order; this one holds what must have one.
        self.close = weakref.finalize(self, _drop, self._held)
        self.close.atexit = False
        request = _request(method, scheme, host, port, target, headers)
        # A request whose body is not even asked for is one that the host may send again
        # over another connection, and whose connection it can keep.
        if has_body:
            self._held["outgoing_body"] = request.body()
            self._held["output"] = self._held["outgoing_body"].write()
        try:
            self._held["future"] = outgoing_handler.handle(request, _options(timeout))
        except Err as error:
            raise exception(error.value, *self._place) from None

    def write(self, data, timeout):
        """Sends a part of the body. A broken connection is told by `head`."""
        if self._broken:
            return
        output = self._held["output"]
        view = memoryview(data).cast("B")
        try:
            while view:
                allowed = output.check_write()
                if allowed:
                    output.write(bytes(view[:allowed]))
                    view = view[allowed:]
                elif not _wait(output.subscribe(), timeout):
                    raise TimeoutError("timed out")
        except Err:
            self._broken = True

    def finish(self):
        """Ends the request's body."""
        output = self._held.pop("output", None)
        if output is not None:
            try:
                if not self._broken:
                    output.flush()
            except Err:
                # The server has read what it wants; what it says comes with the response.
                self._broken = True
            output.__exit__(None, None, None)
        body = self._held.pop("outgoing_body", None)
        if body is not None:
            try:
                types.OutgoingBody.finish(body, None)
            except Err:
                self._broken = True

    def head(self, timeout):
        """Waits for the response: its status, and its headers as pairs of str and bytes."""
        self.finish()
        future = self._held["future"]
        try:
            # Where connecting has the same time-out, the host is to be the one to say so.
            if not _wait(future.subscribe(), timeout and timeout + _GRACE_SECONDS):
                raise TimeoutError("timed out")
            got = future.get()
        finally:
            del self._held["future"]
            future.__exit__(None, None, None)
        # An option of a result of a result.
        while isinstance(got, Ok):
            got = got.value
        if isinstance(got, Err):
            raise exception(got.value, *self._place)
        self._held["response"] = got
        with got.headers() as fields:
            pairs = fields.entries()
        self._held["incoming_body"] = got.consume()
        self._held["input"] = self._held["incoming_body"].stream()
        return got.status(), pairs

    def read(self, length_max, timeout):
        """Up to `length_max` bytes of the body, as soon as there are any; empty at its end.

        `cut` is set when that end came before the body's, which libraries find out by
        themselves and tell in their own words.
        """
        stream = self._held.get("input")
        if stream is None:
            return b""
        try:
            while True:
                data = stream.read(length_max)
                if data:
                    return data
                if not _wait(stream.subscribe(), timeout):
                    raise TimeoutError("timed out")
        except Err as error:
            if isinstance(error.value, streams.StreamError_Closed):
                return b""
            with error.value.value as cause:
                code = types.http_error_code(cause)
                said = "" if code else cause.to_debug_string()
        if code is None:
            said = said.partition("\n")[0]
            raise ConnectionResetError(errno.ECONNRESET, f"Connection broken: {said}")
        if is_cut(code):
            self.cut = True
            return b""
        raise exception(code, *self._place)


def _request(method, scheme, host, port, target, headers):
    try:
        fields = types.Fields.from_list(headers)
    except Err as error:
        raise ValueError(f"invalid header: {_word(error)}") from None
    request = types.OutgoingRequest(fields)
    name = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[scheme]
    try:
        request.set_method(_METHODS.get(method) or types.Method_Other(method))
        request.set_scheme(_SCHEMES[scheme])
        request.set_authority(name if port in (None, usual) else f"{name}:{port}")
        request.set_path_with_query(target)
    except Err:
        raise ValueError(f"invalid URL: {scheme}://{name}:{port}{target}") from None
    return request


def _options(timeout):
    if not timeout:
        return None
    options = types.RequestOptions()
    # Reading has a time-out of its own, which libraries set once the request is sent.
    options.set_connect_timeout(int(timeout * 1e9))
    return options


def _wait(pollable, timeout):
    """Waits until `pollable` is ready, which it drops. False when `timeout` passed first."""
    with pollable:
        if timeout is None:
            pollable.block()
            return True
        with monotonic_clock.subscribe_duration(max(0, int(timeout * 1e9))) as alarm:
            return 0 in poll.poll([pollable, alarm])


def _drop(held):
    for name in _DROP_ORDER:
        resource = held.pop(name, None)
        if resource is not None:
            resource.__exit__(None, None, None)


def _word(error):
    return type(error.value).__name__.rpartition("_")[2]
