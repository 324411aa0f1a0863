"""Making a snapshot's objects immortal: what is changed in the component, and what is not."""

import array
import tempfile
import unittest
from pathlib import Path

from tidegate_build import lasting
from tidegate_build.errors import BuildError

IMMORTAL = 5 << 28
KIND = 0x00BB_0040
BASE = 0x00AA_0000


def leb(value):
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        done = value == 0 and not byte & 0x40 or value == -1 and byte & 0x40
        out.append(byte if done else byte | 0x80)
        if done:
            return bytes(out)


def unsigned(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sized(kind, content):
    return bytes([kind]) + unsigned(len(content)) + content


def component(*segments):
    """A component with a module that has these segments, pairs of address and bytes."""
    data = unsigned(len(segments)) + b"".join(
        b"\0\x41" + leb(address) + b"\x0b" + unsigned(len(content)) + content
        for address, content in segments
    )
    module = b"\0asm\x01\0\0\0" + sized(0, b"\x04name") + sized(11, data)
    small = b"\0asm\x01\0\0\0" + sized(11, unsigned(1) + b"\0\x41" + leb(BASE) + b"\x0b\x02hi")
    return b"\0asm\x0d\0\x01\0" + sized(1, small) + sized(0, b"\x01a") + sized(1, module)


def words(*values):
    return b"".join(value.to_bytes(4, "little") for value in values)


class Applying(unittest.TestCase):
    def apply(self, component, *reported):
        with tempfile.TemporaryDirectory() as folder:
            file, report = Path(folder) / "it.wasm", Path(folder) / "report"
            file.write_bytes(component)
            report.write_bytes(array.array("I", [IMMORTAL, *reported]).tobytes())
            found = lasting.apply(file, report)
            return found, file.read_bytes()

    def test_counts_of_reported_objects_are_set_and_nothing_else(self):
        before = words(7, 7, 1, KIND, 3, 99, KIND, 5)
        found, changed = self.apply(component((BASE, before)), BASE + 8, KIND, BASE + 16, 99)
        self.assertEqual(found, 2)
        self.assertEqual(changed, component((BASE, words(7, 7, IMMORTAL, KIND, IMMORTAL, 99, KIND, 5))))

    def test_objects_are_found_in_any_segment_and_above_two_gigabytes(self):
        high = 0x8000_1000
        segments = [(high - (1 << 32), words(1, KIND)), (BASE, words(2, KIND))]
        found, changed = self.apply(component(*segments), BASE, KIND, high, KIND)
        self.assertEqual(found, 2)
        self.assertEqual(changed.count(words(IMMORTAL, KIND)), 2)

    def test_what_is_no_such_object_any_more_stays_as_it_is(self):
        alive = [(BASE + 8 * index, words(1, KIND)) for index in range(300)]
        # A free block: its first word leads to the next one. And one of another type.
        gone = [(BASE + 8 * 300, words(BASE, KIND)), (BASE + 8 * 301, words(1, KIND + 4))]
        reported = [word for address, _ in alive + gone for word in (address, KIND)]
        memory = b"".join(content for _, content in alive + gone)
        found, changed = self.apply(component((BASE, memory)), *reported)
        self.assertEqual(found, 300)
        self.assertTrue(changed.endswith(b"".join(content for _, content in gone)))

    def test_another_layout_is_refused(self):
        reported = [word for index in range(50) for word in (BASE + 8 * index, KIND)]
        with self.assertRaisesRegex(BuildError, "only 0 of 50 objects"):
            self.apply(component((BASE, words(KIND, 1) * 50)), *reported)

    def test_an_address_outside_of_the_memory_is_none(self):
        with self.assertRaisesRegex(BuildError, "only 0 of 2 objects"):
            self.apply(component((BASE, words(1, KIND))), BASE + 4, KIND, 0, KIND)

    def test_what_is_not_a_component_is_refused(self):
        with self.assertRaisesRegex(BuildError, "not a component"):
            self.apply(b"\0asm\x01\0\0\0", BASE, KIND)


if __name__ == "__main__":
    unittest.main()
