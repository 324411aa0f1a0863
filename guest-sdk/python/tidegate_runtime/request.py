"""`_request`: what a catch workflow is handed."""

from urllib.parse import parse_qsl, urlsplit

from . import body as bodies


class Headers(dict):
    """Header values by name, looked up without regard to case.

    Names are kept in canonical form (``Content-Type``). The values of a repeated
    header are joined as RFC 9110 section 5.2 has it; `getlist` has them apart.
    """

    __slots__ = ("_values",)

    def __init__(self, pairs=()):
        super().__init__()
        self._values = {}
        for name, value in pairs:
            self._values.setdefault(canonical(name), []).append(value)
        for name, values in self._values.items():
            self[name] = ("; " if name == "Cookie" else ", ").join(values)

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
        return list(self._values.get(canonical(key), ()))


class Request(dict):
    """The parsed body merged with the request's headers.

    The body's keys come first and in their order, then the headers by canonical
    name. Where both have a key the body's value stays. Headers are found whatever
    the case they are asked for in.

    What a body key could collide with is an attribute: `raw` (the untouched body,
    bytes), `query` (a dict, a repeated name has a list), `query_string`, `path`,
    `method` and `headers`.
    """

    __slots__ = ("raw", "query", "query_string", "path", "method", "headers", "_names")

    def __init__(self, method, target, headers, raw):
        """Parses a request.

        `target` is path and query, `headers` are pairs of name and value, `raw` is
        the body. Raises `body.BodyError` when the body is not what its content type
        says.
        """
        self.raw = raw
        self.method = method
        parts = urlsplit(target)
        self.path, self.query_string = parts.path, parts.query
        self.query = bodies.collect(parse_qsl(parts.query, keep_blank_values=True))
        self.headers = Headers(headers)
        super().__init__(bodies.parse(self.headers.get("Content-Type", ""), raw))
        self._names = {}
        for name, value in self.headers.items():
            self._names[name.lower()] = name
            dict.setdefault(self, name, value)

    def _stored(self, key):
        """The key under which the header that `key` names is stored, else `key`."""
        if isinstance(key, str):
            return self._names.get(key.lower(), key)
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


def canonical(name):
    """A header's name in canonical form: ``content-type`` is ``Content-Type``."""
    return "-".join([part.capitalize() for part in name.split("-")])
