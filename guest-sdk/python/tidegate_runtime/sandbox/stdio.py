"""Standard output and error: lines, at once, and whatever text they hold."""

import builtins
import io
import sys


def finish():
    sys.stdout = sys.__stdout__ = _stream(1, "<stdout>")
    sys.stderr = sys.__stderr__ = _stream(2, "<stderr>")
    builtins.input = _input


def _stream(descriptor, name):
    # The build's own streams are unbuffered: each print would call the host twice. A
    # line at a time keeps the order with log records, and what a deadline cuts off.
    raw = io.FileIO(descriptor, "w", closefd=False)
    raw.name = name
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True
    )


def _input(prompt=""):
    raise EOFError("nobody is there to answer input(): take the value from settings")
