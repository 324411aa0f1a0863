"""The examples' own tests, which need no packages but this one."""

import importlib.util
import unittest
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def load_tests(loader, standard_tests, pattern):
    suite = unittest.TestSuite()
    files = sorted(EXAMPLES.glob("*/test_workflow.py"))
    for file in files:
        name = f"example_{file.parent.name.replace('-', '_')}"
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        suite.addTests(loader.loadTestsFromModule(module))
    suite.addTest(_Found(len(files)))
    return suite


class _Found(unittest.TestCase):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def runTest(self):
        self.assertGreaterEqual(self.count, 3, f"there are no examples in {EXAMPLES}")


if __name__ == "__main__":
    unittest.main()
