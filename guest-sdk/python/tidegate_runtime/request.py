"""`_request`: what a catch workflow is handed."""

from urllib.parse import parse_qsl, urlsplit

from . import body as bodies


class Headers(dict):
    """Header values by name, looked up without regard to case.

    Names are kept in canonical form (``Content-Type``). The values of a repeated
    header are joined as RFC 9110 section 5.2 has it; `getlist` has them apart.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs=()):
        self._pairs = pairs
        named = [(_CANONICAL.get(name) or canonical(name), value) for name, value in pairs]
        super().__init__(named)
        if len(self) == len(named):
            return
        self.clear()
        for name, value in named:
            if dict.__contains__(self, name):
                value = f"{self[name]}{'; ' if name == 'Cookie' else ', '}{value}"
            self[name] = value

    def __missing__(self, key):
        name = canonical(key) if isinstance(key, str) else key
        if name != key and dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise KeyError(key)

    def __contains__(self, key):
        if dict.__contains__(self, key):
            return True
        return isinstance(key, str) and dict.__contains__(self, canonical(key))

    def get(self, key, default=None):
        """The value of the header `key`, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def getlist(self, key):
        """Every value of the header `key`, in the caller's order."""
        wanted = canonical(key)
        return [value for name, value in self._pairs if canonical(name) == wanted]


class Request(dict):
    """The parsed body merged with the request's headers.

    The body's keys come first and in their order, then the headers by canonical
    name. Where both have a key the body's value stays. Headers are found whatever
    the case they are asked for in.

    What a body key could collide with is an attribute: `raw` (the untouched body,
    bytes), `query` (a dict, a repeated name has a list), `query_string`, `path`,
    `method` and `headers`.
    """

    __slots__ = ("raw", "query_string", "path", "method", "headers", "_query")

    def __init__(self, method, target, headers, raw):
        """Parses a request.

        `target` is path and query, `headers` are pairs of name and value, `raw` is
        the body. Raises `body.BodyError` when the body is not what its content type
        says.
        """
        self.raw = raw
        self.method = method
        self.path, self.query_string = _split(target)
        self._query = None
        self.headers = headers = Headers(headers)
        body = bodies.parse(dict.get(headers, "Content-Type", ""), raw)
        super().__init__(body)
        dict.update(self, headers)
        # What both have keeps the body's value, and its place is the body's already.
        dict.update(self, body)

    @property
    def query(self):
        """The query's fields. A repeated one has a list."""
        if self._query is None:
            self._query = bodies.collect(parse_qsl(self.query_string, keep_blank_values=True))
        return self._query

    @query.setter
    def query(self, fields):
        self._query = fields

    def _stored(self, key):
        """The key under which the header that `key` names is stored, else `key`."""
        if isinstance(key, str):
            name = canonical(key)
            return name if dict.__contains__(self.headers, name) else key
        return key

    def __missing__(self, key):
        stored = self._stored(key)
        if stored != key and dict.__contains__(self, stored):
            return dict.__getitem__(self, stored)
        raise KeyError(key)

    def __contains__(self, key):
        return dict.__contains__(self, key) or dict.__contains__(self, self._stored(key))

    def __delitem__(self, key):
        dict.__delitem__(self, key if dict.__contains__(self, key) else self._stored(key))

    def get(self, key, default=None):
        """The value of `key`, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def pop(self, key, *default):
        """Removes `key` and returns its value, or `default` if there is one."""
        if not dict.__contains__(self, key):
            key = self._stored(key)
        return dict.pop(self, key, *default)

    def setdefault(self, key, default=None):
        """The value of `key`, which is set to `default` first if it is absent."""
        if key in self:
            return self[key]
        self[key] = default
        return default

    def __reduce__(self):
        # A copy, a pickle: the dict's items and the attributes, without parsing again.
        state = {name: getattr(self, name) for name in Request.__slots__}
        return (_revive, (dict(self), state))


def _revive(items, state):
    request = Request.__new__(Request)
    dict.update(request, items)
    for name, value in state.items():
        setattr(request, name, value)
    return request


def _split(target):
    """Path and query of a request's target."""
    if target[:1] == "/" != target[1:2] and target.isprintable() and "#" not in target:
        path, _, query = target.partition("?")
        return path, query
    parts = urlsplit(target)
    return parts.path, parts.query


def canonical(name):
    """A header's name in canonical form: ``content-type`` is ``Content-Type``."""
    return "-".join([part.capitalize() for part in name.split("-")])


#: Of what nearly every request has, as the host writes it.
_CANONICAL = {
    name: canonical(name)
    for name in (
        "accept accept-encoding accept-language authorization cache-control content-encoding "
        "content-length content-type cookie date forwarded host idempotency-key origin prefer "
        "referer traceparent tracestate user-agent x-api-key x-forwarded-for x-forwarded-host "
        "x-forwarded-proto x-real-ip x-request-id"
    ).split()
}
