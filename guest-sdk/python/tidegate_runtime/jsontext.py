"""JSON whose numbers keep the text they were sent with.

A webhook's signature covers bytes. Code that parses the body, serialises it again
and computes an HMAC only agrees with the sender if ``1.10`` and ``1e5`` come out
as they came in. So such numbers become a `float` or an `int` that remembers its
text, and `json.dumps` is taught to write it. Numbers that Python writes alike
anyway, nearly all of them, stay plain.
"""

import json
import json.encoder


class FloatText(float):
    """A `float` that `json.dumps` writes as `text`."""

    __slots__ = ("text",)

    def __new__(cls, text):
        self = float.__new__(cls, text)
        self.text = text
        return self

    def __reduce__(self):
        return (FloatText, (self.text,))


class IntText(int):
    """An `int` that `json.dumps` writes as `text`. JSON has one such: ``-0``."""

    def __new__(cls, text):
        self = int.__new__(cls, text)
        self.text = text
        return self

    def __reduce__(self):
        return (IntText, (self.text,))


def loads(text):
    """Parses JSON as RFC 8259 has it: no ``NaN``, no ``Infinity``.

    Once a number had to keep its text, `keep_number_text` is on for this process.

    Raises `ValueError`, or `RecursionError` when the text is nested too deeply.
    """
    # Asking for each integer's text costs a third of the parse, and one text matters.
    decoder = _DECODER_SIGNED_ZERO if "-0" in text else _DECODER
    try:
        value, end = decoder.scan_once(text, 0)
    except (StopIteration, ValueError):
        end = None
    if end is not None and not text[end:].strip(" \t\n\r"):
        return value
    # It begins with space, or something is wrong, which this tells in full.
    return decoder.decode(text)


#: Deepest nesting of a value that is written. Python's own encoder would exhaust the
#: sandbox's stack, which is a trap, at about three times this.
DEPTH_MAX = 400


def is_too_deep(value):
    """Whether a value is nested deeper than `DEPTH_MAX`, or contains itself."""
    level = [value]
    for _ in range(DEPTH_MAX):
        inner = {}
        for item in level:
            if isinstance(item, dict):
                item = item.values()
            elif not isinstance(item, (list, tuple)):
                continue
            # By identity: what is held many times, or by itself, is followed once.
            inner.update((id(held), held) for held in item if isinstance(held, _CONTAINERS))
        if not inner:
            return False
        level = inner.values()
    return True


_CONTAINERS = (dict, list, tuple)


def _float(text):
    value = float(text)
    if float.__repr__(value) == text:
        return value
    keep_number_text()
    return FloatText(text)


def _int(text):
    if text == "-0":
        keep_number_text()
        return IntText(text)
    return int(text)


def _constant(name):
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_float=_float, parse_constant=_constant)
_DECODER_SIGNED_ZERO = json.JSONDecoder(
    parse_float=_float, parse_int=_int, parse_constant=_constant
)
_C_ENCODER = json.encoder.c_make_encoder
_PYTHON_ENCODER = json.encoder._make_iterencode


def keep_number_text():
    """Makes `json.dumps` write the text of `FloatText` and `IntText`.

    The encoder written in C ignores subclasses, so this gives it up, which costs
    speed. Call `restore` to undo it where the process outlives the run.
    """
    json.encoder.c_make_encoder = None
    json.encoder._make_iterencode = _make_iterencode


def restore():
    """Undoes `keep_number_text`."""
    json.encoder.c_make_encoder = _C_ENCODER
    json.encoder._make_iterencode = _PYTHON_ENCODER


def _make_iterencode(markers, default, encoder, indent, floatstr, *rest):
    def float_text(value):
        return value.text if isinstance(value, FloatText) else floatstr(value)

    def int_text(value):
        return value.text if isinstance(value, IntText) else int.__repr__(value)

    return _PYTHON_ENCODER(
        markers, default, encoder, indent, float_text, *rest, _intstr=int_text
    )
