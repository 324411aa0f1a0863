"""``multipart/form-data`` (RFC 7578)."""

import base64
import re
from urllib.parse import unquote_to_bytes

#: Longest head of one part, in bytes.
PART_HEAD_BYTES_MAX = 16 * 1024


class MultipartError(ValueError):
    """The body does not follow RFC 7578."""


def parse(raw, boundary, fields_max):
    """Pairs of field name and value, in the body's order.

    A plain field's value is a `str`. A file's is a dict with ``filename``,
    ``content_type`` and ``data``, its bytes in base64.
    """
    if not boundary:
        raise MultipartError("its content type names no boundary")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    # The first delimiter may begin the body; a break before it makes it like the others.
    preamble, *parts = (b"\r\n" + raw).split(delimiter)
    if not parts:
        raise MultipartError("its boundary never occurs")
    if len(parts) > fields_max + 1:
        raise MultipartError(f"it has more than {fields_max} fields")
    fields = []
    for part in parts:
        if part.startswith(b"--"):
            return fields
        fields.append(_field(part))
    raise MultipartError("it ends before its closing boundary")


def _field(part):
    start = part.find(b"\r\n")
    end = part.find(b"\r\n\r\n", start)
    if start < 0 or end < 0 or part[:start].strip():
        raise MultipartError("a part has no head")
    if end - start > PART_HEAD_BYTES_MAX:
        raise MultipartError(f"a part's head is longer than {PART_HEAD_BYTES_MAX} bytes")
    head = {}
    for line in part[start:end].decode("utf-8", "replace").split("\r\n"):
        name, separator, value = line.partition(":")
        if separator:
            head[name.strip().lower()] = value.strip()
    data = part[end + 4 :]
    kind, options = _disposition(head.get("content-disposition", ""))
    if kind != "form-data" or "name" not in options:
        raise MultipartError("a part names no field")
    name = options["name"]
    if "filename" not in options:
        return name, data.decode("utf-8", "replace")
    return name, {
        "filename": options["filename"],
        "content_type": head.get("content-type", "application/octet-stream"),
        "data": base64.b64encode(data).decode("ascii"),
    }


_OPTION = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')


def _disposition(value):
    kind = value.partition(";")[0].strip().lower()
    options = {}
    for name, text in _OPTION.findall(value):
        name = name.lower()
        text = text.strip()
        if text.startswith('"'):
            # Browsers write a quote as %22 and leave backslashes alone.
            text = text[1:-1].replace('\\"', '"').replace("%22", '"')
        if name == "filename*":
            options["filename"] = _extended(text)
        else:
            options.setdefault(name, text)
    return kind, options


def _extended(text):
    """A parameter as RFC 8187 has it: ``UTF-8''na%C3%AFve.txt``."""
    charset, _, rest = text.partition("'")
    data = unquote_to_bytes(rest.partition("'")[2])
    return data.decode("latin-1" if charset.lower() == "iso-8859-1" else "utf-8", "replace")
