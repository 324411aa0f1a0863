"""Texts of any length and origin, made fit to be sent."""


def shorten(text, length_max):
    """`text`, its middle left out where it is longer than `length_max` characters."""
    if len(text) <= length_max:
        return text
    note = f" ... {len(text) - length_max} characters left out ... "
    half = max(0, length_max - len(note)) // 2
    return text[: length_max - len(note) - half] + note + text[len(text) - half :]


def with_article(name):
    """`name` with its indefinite article, for names of types."""
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"


def encodable(text):
    """`text` with everything that UTF-8 cannot hold replaced by a question mark."""
    return text.encode("utf-8", "replace").decode()
