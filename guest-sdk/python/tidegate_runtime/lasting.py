"""Tells the build tool which objects are there for good.

CPython counts references in the object itself: to call a function writes to the pages of
the function, its code, its module. For an object that is immortal (PEP 683) it does not.
The objects of the snapshot outlive every run, so the build tool makes them immortal; what
it needs to know is written here.
"""

import array
import gc
import posix
import sys
import types

#: Words per object: its address, and its type's.
_WORDS = 2

_PIECE_WORDS = _WORDS * 4096


class Report:
    """The file for the build tool, opened while there are files."""

    def __init__(self, path):
        self._file = posix.open(path, posix.O_CREAT | posix.O_WRONLY | posix.O_TRUNC, 0o644)
        self._write, self._close = posix.write, posix.close

    def write(self):
        """Writes the count of an immortal object, then those of each object; closes it."""
        # A name in code is made immortal when the code is loaded.
        words = array.array("I", [sys.getrefcount(_immortal_name())])
        for found in _reachable():
            words.extend((id(found), id(type(found))))
            if len(words) >= _PIECE_WORDS:
                self._put(words)
                del words[:]
        self._put(words)
        self._close(self._file)

    def _put(self, words):
        # A write may take less than it is given.
        rest = words.tobytes()
        while rest:
            rest = rest[self._write(self._file, rest) :]


def _immortal_name():
    name = _reachable.__code__.co_names[0]
    if not sys._is_immortal(name):
        raise RuntimeError("names in code are not immortal in this Python")
    return name


def _reachable():
    """Every mortal object that is reached from the imported modules, but constants of code.

    Code that ran knows of each of its constants that it is mortal, and goes on to count.
    """
    constants = _Marks()
    for found in _walk():
        if isinstance(found, types.CodeType):
            for constant in found.co_consts:
                constants.add(constant)
    for found in _walk():
        if found not in constants and not sys._is_immortal(found):
            yield found


def _walk():
    seen = _Marks()
    todo = [sys.modules]
    while todo:
        found = todo.pop()
        # What a running function holds is gone when that returns.
        if found in seen or isinstance(found, types.FrameType):
            continue
        seen.add(found)
        yield found
        if isinstance(found, types.CodeType):
            todo += (found.co_consts, found.co_names, found.co_filename, found.co_name, found.co_qualname)
        else:
            todo += gc.get_referents(found)


class _Marks:
    """A set of objects: a bit for each address.

    A set of as many numbers takes ten times the memory, which the snapshot would keep.
    """

    __slots__ = ("_bits",)

    def __init__(self):
        self._bits = bytearray(1 << 20)

    def add(self, item):
        at, bit = _bit(item)
        if at >= len(self._bits):
            self._bits.extend(bytes(at + 1 - len(self._bits)))
        self._bits[at] |= bit

    def __contains__(self, item):
        at, bit = _bit(item)
        return at < len(self._bits) and self._bits[at] & bit != 0


def _bit(item):
    return id(item) >> 6, 1 << (id(item) >> 3 & 7)
