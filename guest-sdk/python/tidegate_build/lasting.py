"""Makes the objects of a snapshot immortal, in the component that holds it.

The guest says where they are (`tidegate_runtime/lasting.py`), and what it says is checked
against the memory: nothing is written where there is no such object. That the counter and
the type are an object's first words is CPython's layout on 32 bits.
"""

import array
import bisect
import sys

from .errors import BuildError

_WORDS = 2
_MODULE, _DATA = 1, 11
_COMPONENT = b"\0asm\x0d\0\x01\0"
_ACTIVE, _I32_CONST, _END = 0, 0x41, 0x0B
#: Counts are far below, addresses of the heap above: a free object's first word may be one.
_COUNT_MAX = 1 << 20
#: The part that must be found as reported; the others ended with the build's last functions.
_FOUND_MIN = 0.99


def apply(component, report):
    """Changes the file `component` according to the guest's `report`, both paths.

    Returns the number of objects. Raises `BuildError` when the memory does not hold what
    was reported.
    """
    words = array.array("I", report.read_bytes())
    if sys.byteorder == "big":
        words.byteswap()
    immortal, objects = words[0], words[1:]
    data = bytearray(component.read_bytes())
    memory = _Memory(data)
    found = 0
    for at in range(0, len(objects), _WORDS):
        address, kind = objects[at : at + _WORDS]
        place = memory.place(address)
        if place is None:
            continue
        count, its_kind = _u32(data, place), _u32(data, place + 4)
        if its_kind == kind and 0 < count < _COUNT_MAX:
            data[place : place + 4] = immortal.to_bytes(4, "little")
            found += 1
    total = len(objects) // _WORDS
    if found < total * _FOUND_MIN:
        raise BuildError(
            "snapshot",
            f"only {found} of {total} objects are in the component's memory as the guest reported them: "
            "this version of CPython or componentize-py lays them out in another way",
        )
    component.write_bytes(data)
    return found


class _Memory:
    """Where the initial bytes of the component's memory are in its file."""

    def __init__(self, data):
        # Address, length, place in the file; of the module that has the most.
        modules = (_segments(data, *part) for part in _modules(data))
        self._segments = max(modules, key=lambda segments: sum(s[1] for s in segments), default=[])
        self._segments.sort()
        self._starts = [start for start, _, _ in self._segments]

    def place(self, address):
        """Where the eight bytes from an address on are, or `None`."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, length, place = self._segments[index]
        return place + address - start if address + 8 <= start + length else None


def _modules(data):
    """Start and end of each core module."""
    if not data.startswith(_COMPONENT):
        raise BuildError("snapshot", "componentize-py made something that is not a component")
    for kind, start, end in _sections(data, 8, len(data)):
        if kind == _MODULE:
            yield start, end


def _sections(data, at, end):
    while at < end:
        kind = data[at]
        size, start = _leb(data, at + 1)
        yield kind, start, start + size
        at = start + size


def _segments(data, start, end):
    """The active segments of a core module that have a constant address."""
    found = []
    for kind, at, _ in _sections(data, start + 8, end):
        if kind != _DATA:
            continue
        count, at = _leb(data, at)
        for _ in range(count):
            flags, at = _leb(data, at)
            address = None
            if flags == _ACTIVE:
                if data[at] == _I32_CONST:
                    address, at = _leb(data, at + 1, signed=True)
                else:
                    at = data.index(_END, at)
                at += 1
            elif flags != 1:
                # Of a second memory: there is none.
                return []
            length, at = _leb(data, at)
            if address is not None:
                found.append((address & 0xFFFF_FFFF, length, at))
            at += length
    return found


def _leb(data, at, signed=False):
    """A number in LEB128, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if signed and byte & 0x40:
        value -= 1 << shift
    return value, at


def _u32(data, place):
    return int.from_bytes(data[place : place + 4], "little")
