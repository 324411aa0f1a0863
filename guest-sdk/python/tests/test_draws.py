import pathlib
import subprocess
import sys
import textwrap
import unittest

SDK = pathlib.Path(__file__).resolve().parents[1]


def run(program):
    """What a program prints, in a process of its own: `random` is one for all."""
    command = [sys.executable, "-S", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=SDK, capture_output=True, text=True, check=True)
    return done.stdout.split()


#: As in a component, where `random` has no fork to prepare for.
ALONE = "import os; del os.fork"

#: As an instance begins: what all of them would draw, then the call of componentize-py.
BEGIN = f"""
{ALONE}
import random
random.seed(1)
again = random.Random(1).random()
from tidegate_runtime.sandbox import draws
is_deferred = draws.defer()
random.seed()
"""


class Deferred(unittest.TestCase):
    def test_nothing_is_drawn_from_what_all_share(self):
        for draw in (
            "random.random()",
            "random._inst.random()",
            "__import__('random').random()",
            "getattr(random, 'random')()",
        ):
            with self.subTest(draw):
                told = run(f"{BEGIN}\nprint(is_deferred, {draw} == again)")
                self.assertEqual(told, ["True", "False"])
        told = run(f"{BEGIN}\nfrom random import *\nprint(is_deferred, random() == again)")
        self.assertEqual(told, ["True", "False"])

    def test_a_seed_of_the_program_is_kept(self):
        for seed in ("random.seed(1)", "from random import seed; seed(1)", "random.setstate(random.Random(1).getstate())"):
            with self.subTest(seed):
                told = run(f"{BEGIN}\n{seed}\nprint(random.random() == again, random.seed.__self__ is random._inst)")
                self.assertEqual(told, ["True", "True"])

    def test_a_seed_from_the_system_is_another_each_time(self):
        told = run(f"{BEGIN}\nrandom.seed()\nfirst = random.random()\nrandom.seed()\nprint(first == again, random.random() == first)")
        self.assertEqual(told, ["False", "False"])

    def test_the_module_looks_as_ever(self):
        told = run(f"""{BEGIN}
print(set(random.__all__) <= set(dir(random)), hasattr(random, "randint"), hasattr(random, "nothing"))
try:
    random.nothing
except AttributeError as error:
    print(error)
""")
        self.assertEqual(told, "True True False module 'random' has no attribute 'nothing'".split())

    def test_a_module_that_keeps_a_function_draws_from_the_seeded_one(self):
        told = run(f"""
{ALONE}
import random, sys, types
sys.modules["other"] = other = types.ModuleType("other")
exec("from random import choice, seed as sow, random as draw", vars(other))
random.seed(1)
again = random.Random(1).random()
from tidegate_runtime.sandbox import draws
print(draws.defer(), other.draw.__name__, other.choice.__name__)
random.seed()
print(other.draw() == again, other.draw is not random.random, random.random() == again)
other.sow(1)
print(other.draw() == again, other.choice([7]))
""")
        self.assertEqual(told, "True random choice False True False True 7".split())

    def test_what_is_kept_elsewhere_stops_it(self):
        for kept in ("import random; kept = [random.choice]", "import random; kept = random._inst"):
            with self.subTest(kept):
                told = run(f"""
{ALONE}
import sys, types
sys.modules["other"] = other = types.ModuleType("other")
exec({kept!r}, vars(other))
from tidegate_runtime.sandbox import draws
import random
before = dict(vars(random))
print(draws.defer(), vars(random) == before)
""")
                self.assertEqual(told, ["False", "True"])


if __name__ == "__main__":
    unittest.main()
