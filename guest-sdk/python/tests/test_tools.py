"""The tools of the build, as far as they can be tested without installing them."""

import tempfile
import unittest
from pathlib import Path

from tidegate_build.tools import Tools


class ToolsTest(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name) / "tools"
        (self.folder / "bin").mkdir(parents=True)
        self.tools = Tools(self.folder)
        self.tools.python.touch()

    def test_incomplete_ones_are_not_used(self):
        self.assertFalse(self.tools.are_usable())
        self.tools.seal()
        self.assertTrue(self.tools.are_usable())

    def test_moved_ones_are_not_used(self):
        self.tools.seal()
        moved = self.folder.rename(self.folder.with_name("moved"))
        self.assertFalse(Tools(moved).are_usable())

    def test_those_of_a_python_that_is_gone_are_not_used(self):
        self.tools.seal()
        self.tools.python.unlink()
        self.assertFalse(self.tools.are_usable())
