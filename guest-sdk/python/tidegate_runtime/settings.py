"""`settings`: the environment properties, and what a workflow keeps in them."""

import json

from . import jsontext
from .text import with_article


class SettingsError(ValueError):
    """Settings cannot be saved. Nothing of them was."""


class Settings(dict):
    """The workflow's settings: a dict that is kept from run to run.

    What the function leaves in it is saved when the run succeeds, key by key: only
    what was set, changed or deleted is written.
    """

    __slots__ = ("_saved", "_commit")

    def __init__(self, pairs, commit):
        """Settings from pairs of name and JSON text.

        `commit` takes a list of changes, as `changes` makes them, and saves them at
        once; it raises `SettingsError` when it cannot.
        """
        self._saved = dict(pairs)
        self._commit = commit
        super().__init__({name: json.loads(text) for name, text in self._saved.items()})

    def changes(self):
        """What differs from what is saved: pairs of name and JSON text.

        A text of `None` deletes the name. Raises `SettingsError` and names the key when
        one is not a string or its value is not JSON.
        """
        found = []
        for name, value in self.items():
            text = _dumps(name, value)
            before = self._saved.get(name)
            # The host may have another way to write the same value.
            if text != before and (before is None or text != _dumps(name, json.loads(before))):
                found.append((name, text))
        found += [(name, None) for name in self._saved if name not in self]
        return found

    def save(self):
        """Saves the changes now, whatever becomes of the run afterwards.

        For a cursor after each page of a long pull. Raises `SettingsError`.
        """
        changes = self.changes()
        if changes:
            self._commit(changes)
        for name, text in changes:
            if text is None:
                del self._saved[name]
            else:
                self._saved[name] = text

    def __reduce__(self):
        # A copy is a plain dict: only this one is saved.
        return (dict, (dict(self),))


def _dumps(name, value):
    if type(name) is not str:
        raise SettingsError(f"settings: the key {name!r} is not a string")
    if jsontext.is_too_deep(value):
        raise SettingsError(f"settings[{name!r}] cannot be saved: it is nested too deeply")
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except UnicodeEncodeError:
        problem = "its text holds half of a surrogate pair"
        raise SettingsError(f"settings[{name!r}] cannot be saved: {problem}") from None
    except (TypeError, ValueError):
        where, problem = _find(f"settings[{name!r}]", value)
        raise SettingsError(f"{where} cannot be saved: {problem}") from None
    return text


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _find(where, value):
    """The innermost value that is not JSON, and why it is not; no reason if all are."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(value, dict) and not isinstance(key, (str, int, float, type(None))):
                return where, f"its key {key!r} is not a string"
            inner = _find(f"{where}[{key!r}]", item)
            if inner[1]:
                return inner
        return where, ""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return where, f"JSON has no {value!r}"
    if value is None or isinstance(value, (str, int, float)):
        return where, ""
    return where, (
        f"{with_article(type(value).__name__)} is not JSON "
        "(use str, int, float, bool, None, list or dict)"
    )
