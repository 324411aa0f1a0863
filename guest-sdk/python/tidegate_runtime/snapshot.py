"""From build-time files to the memory image that every instance starts from.

`begin` runs before anything else of ours is imported, `end` last. In between the
standard library and the packages are imported, a few programs are run to warm what
the first call would otherwise do, and whatever belongs to the build's machine is
dropped.
"""

import gc
import importlib.machinery
import json
import os
import sys

#: Where componentize-py mounts the folder that the build tool staged.
STAGE = "/0"

#: What the build tool wrote there, see `begin`.
config = {}

#: The library of this component, once `begin` ran.
library = None


def begin():
    """Puts the stand-ins in place and makes the library importable.

    The build tool's ``build.json`` holds ``packages`` (names and versions), ``preload``
    (modules to import beside every top-level one) and, for a component with a program
    inside, ``entry``.
    """
    global library
    with open(f"{STAGE}/build.json", encoding="utf-8") as file:
        config.update(json.load(file))

    from . import sandbox

    sandbox.install()

    from .library import Library

    library = Library()
    library.add_tree("/python", "/python")
    library.add_tree(f"{STAGE}/packages", "/packages")
    # The bindings and this package are found by the path finder, which is last.
    sys.meta_path.insert(-1, library)


def refuse(diagnostics):
    """Ends the build when there is something wrong with the program, and says what."""
    if not diagnostics:
        return
    with open(f"{STAGE}/diagnostics.json", "w", encoding="utf-8") as file:
        json.dump([{name: getattr(found, name) for name in found.__slots__} for found in diagnostics], file)
    raise SystemExit("the program cannot be deployed")


def end(warm, files):
    """Warms the interpreter up and leaves the build's world behind.

    `warm` is a function that runs sample programs, `files` maps absolute paths to the
    bytes of a program's own data files.
    """
    from . import heap, lasting, outbound, preload, runlog, sandbox, trace

    trace.OWN_FOLDERS[:] = [f"{STAGE}/tidegate_runtime/", "/world/", "/bundled/"]
    trace.hide_own_frames()
    runlog.LIBRARY_FOLDERS = ("/packages/", "/python/")
    failed = preload.run(library, config.get("preload", ()))
    outbound.install()
    _import_bindings()
    library.pack()
    with open(f"{STAGE}/report.json", "w", encoding="utf-8") as file:
        json.dump({"version": sys.version.split()[0], "failed": failed}, file)

    lasting_report = lasting.Report(f"{STAGE}/lasting")
    sandbox.finish(library, files)
    # Each entry of the path would be asked for each module that is not there.
    sys.meta_path.remove(importlib.machinery.PathFinder)
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    for module in list(sys.modules.values()):
        if getattr(module, "__cached__", None):
            module.__cached__ = None
    warm()
    gc.collect()
    sandbox.draws.defer()
    lasting_report.write()
    gc.collect()
    heap.fill_holes()
    gc.freeze()


def _import_bindings():
    """Imports the generated modules, which componentize-py asks for after our end."""
    import asyncio

    for folder, _, names in os.walk("/world"):
        package = folder.removeprefix("/world").strip("/").replace("/", ".")
        for name in names:
            if name.endswith(".py"):
                importlib.import_module(f"{package}.{name[:-3]}".removesuffix(".__init__"))
    for name in ("componentize_py_types", "componentize_py_async_support"):
        importlib.import_module(name)
    # The last one starts a loop for asynchronous exports, of which there are none.
    asyncio._set_running_loop(None)


def packages():
    """Names and versions of the packages that programs can import."""
    return [tuple(pair) for pair in config["packages"]]


def importable():
    """The names of all top-level modules that programs can import."""
    return library.top_level()
