"""A program inside a component: a folder of modules, compiled when it is built."""

import importlib.machinery
import os
import sys

from . import program


#: The folder in which a program finds its data files: that of its ``__file__``.
ROOT = "/program"


class Bundle:
    """The modules of a program; the finder and loader of all but the first.

    Nothing of the program runs before a run does: the snapshot holds code objects, and
    each run executes them afresh.
    """

    def __init__(self, folder, entry):
        """Compiles the modules below `folder`. Raises what `compile` raises.

        `entry` is the file that defines ``workflow``, relative to `folder`.
        """
        self.entry = entry
        self._codes = {}
        self._sources = {}
        self._packages = set()
        self._files = {}
        #: The program's data files, by absolute path.
        self.files = {}
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache")))
            inside = place[len(folder) :].strip("/")
            for name in sorted(names):
                file = f"{inside}/{name}" if inside else name
                if name.endswith(".py"):
                    self._add(folder, file)
                else:
                    with open(f"{folder}/{file}", "rb") as opened:
                        self.files[f"{ROOT}/{file}"] = opened.read()

    def _add(self, folder, file):
        with open(f"{folder}/{file}", "rb") as opened:
            source = opened.read().decode("utf-8-sig")
        name = file.removesuffix(".py").replace("/", ".")
        if name.endswith("__init__"):
            name = name.rpartition(".")[0]
            self._packages.add(name)
        if not name or not all(part.isidentifier() for part in name.split(".")):
            return
        self._sources[file] = source
        self._files[name] = file
        self._codes[name] = compile(source, file, "exec", dont_inherit=True)

    def load(self):
        """Executes the program and returns its module."""
        name = self.entry.removesuffix(".py")
        module = program.new_module(self.entry, lambda: self._sources[self.entry])
        module.__file__ = f"{ROOT}/{self.entry}"
        exec(self._codes[name], module.__dict__)
        return module

    def names(self):
        """The names of the program's top-level modules."""
        return sorted({name.partition(".")[0] for name in self._codes})

    # Finder and loader

    def find_spec(self, name, path=None, target=None):
        if name not in self._codes:
            return None
        spec = importlib.machinery.ModuleSpec(
            name, self, origin=f"{ROOT}/{self._files[name]}", is_package=name in self._packages
        )
        spec.has_location = True
        if name in self._packages:
            spec.submodule_search_locations = [os.path.dirname(spec.origin)]
        return spec

    def invalidate_caches(self):
        pass

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self._codes[module.__spec__.name], module.__dict__)

    def get_source(self, name):
        return self._sources[self._files[name]]

    def is_package(self, name):
        return name in self._packages


def taken(names):
    """Those of a program's module names that the library has already."""
    return [name for name in names if name in sys.modules]
