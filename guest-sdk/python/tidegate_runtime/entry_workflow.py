"""The world `workflow`: a component with one program inside.

componentize-py imports this module, runs it up to its end, and keeps the memory that
it leaves as the image from which every instance starts.
"""

from . import snapshot

snapshot.begin()

import sys

import wit_world

from . import bundle, guest

_program = bundle.Bundle(f"{snapshot.STAGE}/program", snapshot.config["entry"])


class WitWorld(wit_world.WitWorld):
    """The function that the host calls, in a fresh instance each time."""

    def workflow(self, trigger, settings):
        return guest.run(_program.load, trigger, settings)


snapshot.end(lambda: None)
sys.meta_path.append(_program)
