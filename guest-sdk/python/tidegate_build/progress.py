"""One line on standard error for each step of a build, and how long it took."""

import contextlib
import sys
import time


@contextlib.contextmanager
def step(text):
    """Says that a step begins, and how long it took when it ended well."""
    say(f"{text} ...")
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    if took >= 1:
        say(f"{text}: done in {took:.0f} s")


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)
