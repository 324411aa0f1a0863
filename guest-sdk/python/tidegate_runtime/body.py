"""Request bodies, by content type: JSON, form, multipart."""

from codecs import BOM_UTF8
from urllib.parse import parse_qsl

from . import jsontext, multipart

#: Most fields of one form. A form with more is refused.
FIELDS_MAX = 10_000


class BodyError(ValueError):
    """The body is not what its content type says it is. The caller's fault."""


def parse(content_type, raw):
    """The body as a dict.

    A content type other than the three that are understood gives an empty dict: the
    workflow has the raw body. So does an empty body. Raises `BodyError`.
    """
    if not raw:
        return {}
    if content_type == "application/json":
        return _json(raw)
    kind, parameters = parse_content_type(content_type)
    if is_json(kind):
        return _json(raw)
    if kind == "application/x-www-form-urlencoded":
        return _form(raw)
    if kind == "multipart/form-data":
        try:
            return collect(multipart.parse(raw, parameters.get("boundary", ""), FIELDS_MAX))
        except multipart.MultipartError as error:
            raise BodyError(f"the request's multipart body is broken: {error}") from None
    return {}


def is_json(kind):
    """Whether the media type `kind` says that a body is JSON (RFC 6839 for ``+json``)."""
    return kind in ("application/json", "text/json") or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def parse_content_type(value):
    """The media type in lower case and its parameters, of a ``Content-Type`` header."""
    kind, *rest = value.split(";")
    parameters = {}
    for part in rest:
        name, separator, text = part.partition("=")
        if separator:
            parameters[name.strip().lower()] = text.strip().strip('"')
    return kind.strip().lower(), parameters


def collect(pairs):
    """Pairs of name and value as a dict, in which a repeated name has a list."""
    fields = {}
    repeated = set()
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif name in repeated:
            fields[name].append(value)
        else:
            repeated.add(name)
            fields[name] = [fields[name], value]
    return fields


def _json(raw):
    try:
        # The codec that skips the mark is written in Python.
        value = jsontext.loads(raw.decode("utf-8-sig" if raw.startswith(BOM_UTF8) else "utf-8"))
    except UnicodeDecodeError as error:
        raise BodyError(
            f"the request body is not valid JSON: byte {error.start} is not UTF-8"
        ) from None
    except RecursionError:
        raise BodyError("the request body is not valid JSON: nested too deeply") from None
    except ValueError as error:
        hint = " (it looks like a form: send it with another content type)"
        form = raw[:1] not in b'{["' and b"=" in raw
        raise BodyError(
            f"the request body is not valid JSON: {error}{hint if form else ''}"
        ) from None
    if not isinstance(value, dict):
        names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
        found = names.get(type(value), "a number")
        raise BodyError(f"the request body must be a JSON object, not {found}")
    return value


def _form(raw):
    try:
        pairs = parse_qsl(
            raw.decode("utf-8", "replace"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise BodyError(f"the request's form has more than {FIELDS_MAX} fields") from None
    return collect(pairs)
