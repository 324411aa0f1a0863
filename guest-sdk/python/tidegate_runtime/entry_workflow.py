"""The world `workflow`: a component with one program inside.

componentize-py imports this module, runs it up to its end, and keeps the memory that
it leaves as the image from which every instance starts.
"""

from . import snapshot

snapshot.begin()

import sys

import wit_world

from . import bundle, guest, program, warmup

_program = bundle.Bundle(f"{snapshot.STAGE}/program", snapshot.config["entry"])
snapshot.refuse(_program.compile(set(sys.stdlib_module_names), snapshot.importable))


class WitWorld(wit_world.WitWorld):
    """The function that the host calls, in a fresh instance each time."""

    def workflow(self, trigger, settings):
        return guest.run(_program.entry, _program.load, trigger, settings)


def _start(source):
    """A sample program for the warm-up, from source to what runs it."""
    code = compile(source, "warm.py", "exec", dont_inherit=True)

    def load():
        module = program.new_module("warm.py", lambda: "")
        exec(code, module.__dict__)
        return module

    return lambda trigger, settings: guest.run("warm.py", load, trigger, settings)


guest.begin_log()
snapshot.end(lambda: warmup.run(_start), _program.files)
sys.meta_path.append(_program)
