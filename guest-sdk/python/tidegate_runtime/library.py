"""The modules and files that a component carries: the standard library and packages.

A component has no file system. What is imported before the snapshot lies ready in
its memory and costs a run nothing. The rest of the library, code objects and data
files, is packed into the snapshot too, so that a late import and a package that
opens its own data work, at the price of unpacking what they ask for.
"""

import contextlib
import errno
import importlib.machinery
import importlib.metadata
import importlib.resources
import io
import marshal
import os
import pathlib
import sys
import zlib

#: Folders of a package that are of no use at run time.
_SKIPPED = frozenset(
    "__pycache__ test tests testing_data idlelib lib2to3 tkinter turtledemo ensurepip venv "
    "pydoc_data _pyrepl lib-dynload site-packages wasm32-wasi".split()
)
_TEXT_METADATA = ("METADATA", "entry_points.txt", "top_level.txt", "PKG-INFO", "RECORD")
_EMPTY = zlib.compress(b"")


class _Module:
    """One module of the library. `packed` is its code once the snapshot is near."""

    __slots__ = ("shown", "real", "package", "packed")

    def __init__(self, shown, real, package):
        self.shown = shown
        self.real = real
        self.package = package
        self.packed = None


class Library:
    """An index of modules and files; the finder and loader of all of them.

    While the component is built it reads from the build's mounts, later from memory.
    """

    def __init__(self):
        self.modules = {}
        self.files = {}
        self.folders = {}
        self.distributions = []
        self._top = None

    # Building

    def add_tree(self, real, shown):
        """Indexes a folder as it would be on ``sys.path``. Tracebacks name it `shown`."""
        for folder, folders, names in os.walk(real):
            folders[:] = sorted(name for name in folders if name not in _SKIPPED)
            inside = folder[len(real) :].strip("/")
            dotted = inside.replace("/", ".")
            # A package is known as one before its modules are.
            for name in sorted(names, key=lambda name: (name != "__init__.py", name)):
                path = f"{folder}/{name}"
                place = f"{shown}/{inside}/{name}" if inside else f"{shown}/{name}"
                if name.endswith(".py"):
                    self._add_module(dotted, name[:-3], place, path)
                elif not inside.endswith((".dist-info", ".egg-info")) or name in _TEXT_METADATA:
                    self._add_file(place, path)
            if inside.endswith(".dist-info"):
                self.distributions.append(f"{shown}/{inside}")

    def _add_module(self, folder, name, shown, real):
        if name == "__init__":
            dotted, package = folder, True
        else:
            dotted, package = f"{folder}.{name}" if folder else name, False
        if not all(part.isidentifier() for part in dotted.split(".")):
            return
        self.modules.setdefault(dotted, _Module(shown, real, package))
        place = os.path.dirname(os.path.dirname(shown) if package else shown)
        parent = dotted.rpartition(".")[0]
        while parent and parent not in self.modules:
            # A folder without __init__.py is a namespace package (PEP 420).
            self.modules[parent] = _Module(place, None, True)
            place = os.path.dirname(place)
            parent = parent.rpartition(".")[0]

    def _add_file(self, shown, real):
        if not real.endswith((".pyi", ".so", ".exe", ".a", ".pyc", "py.typed")):
            self.files[shown] = real

    def pack(self):
        """Takes into memory what is not imported. The build's mounts are left behind."""
        for name, module in self.modules.items():
            if name in sys.modules or module.real is None:
                continue
            try:
                code = _compile(module)
            except (SyntaxError, ValueError):
                # Templates and code for other versions of Python.
                continue
            # Level 1: the build waits for this, and the image is compressed nowhere else.
            module.packed = zlib.compress(marshal.dumps(code), 1)
        for shown, real in self.files.items():
            with open(real, "rb") as file:
                data = file.read()
            self.files[shown] = zlib.compress(data, 6) if data else _EMPTY
            self._list(shown)
        for module in self.modules.values():
            self._list(module.shown)
            module.real = None

    def _list(self, shown):
        """Makes a file and the folders above it known to those who list folders."""
        while shown != "/":
            parent = os.path.dirname(shown)
            self.folders.setdefault(parent, set()).add(os.path.basename(shown))
            shown = parent

    # Finding and loading modules

    def top_level(self):
        """The names of all top-level modules that can be imported."""
        if self._top is None:
            names = [name for name in self.modules if "." not in name]
            names += [name for name in sys.builtin_module_names if not name.startswith("_")]
            self._top = sorted(set(names))
        return self._top

    def find_spec(self, name, path=None, target=None):
        module = self.modules.get(name)
        if module is None:
            return None
        if module.package and not module.shown.endswith("/__init__.py"):
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [module.shown]
            return spec
        spec = importlib.machinery.ModuleSpec(
            name, self, origin=module.shown, is_package=module.package
        )
        spec.has_location = True
        if module.package:
            spec.submodule_search_locations = [os.path.dirname(module.shown)]
        return spec

    def invalidate_caches(self):
        pass

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.get_code(module.__spec__.name), module.__dict__)

    def get_code(self, name):
        module = self._module(name)
        if module.packed is not None:
            return marshal.loads(zlib.decompress(module.packed))
        if module.real is None:
            raise ImportError(f"{name} cannot be loaded again", name=name)
        return _compile(module)

    def get_source(self, name):
        module = self._module(name)
        if module.real is None:
            return None
        with open(module.real, encoding="utf-8") as file:
            return file.read()

    def is_package(self, name):
        return self._module(name).package

    def get_filename(self, name):
        return self._module(name).shown

    def get_data(self, path):
        try:
            packed = self.files[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file in this runtime", path) from None
        if isinstance(packed, str):
            with open(packed, "rb") as file:
                return file.read()
        return zlib.decompress(packed)

    def get_resource_reader(self, name):
        from importlib.resources.abc import TraversableResources

        folder = os.path.dirname(self._module(name).shown)

        class Reader(TraversableResources):
            def files(self):
                return _Place(library, folder)

        library = self
        return Reader()

    def _module(self, name):
        try:
            return self.modules[name]
        except KeyError:
            raise ImportError(f"no module named {name!r} in this runtime", name=name) from None

    # Finding distributions, for importlib.metadata

    def find_distributions(self, context=importlib.metadata.DistributionFinder.Context()):
        for place in self.distributions:
            found = _Distribution(self, place)
            if context.name is None or _normal(found.name) == _normal(context.name):
                yield found


class _Distribution(importlib.metadata.Distribution):
    def __init__(self, library, place):
        self._library = library
        self._folder = place

    @property
    def name(self):
        return os.path.basename(self._folder).removesuffix(".dist-info").rpartition("-")[0]

    def read_text(self, filename):
        try:
            return self._library.get_data(f"{self._folder}/{filename}").decode("utf-8")
        except FileNotFoundError:
            return None

    def locate_file(self, path):
        return _Place(self._library, f"{os.path.dirname(self._folder)}/{path}")


class _Place:
    """A file or folder of the library, as `importlib.resources` walks it."""

    def __init__(self, library, path):
        self._library = library
        self._path = path
        self.name = os.path.basename(path)

    def __str__(self):
        return self._path

    def __fspath__(self):
        return self._path

    def is_file(self):
        return self._path in self._library.files

    def is_dir(self):
        return self._path in self._library.folders

    def exists(self):
        # A module is there, too, though its source is not.
        folder, name = os.path.split(self._path)
        return self.is_dir() or name in self._library.folders.get(folder, ())

    def iterdir(self):
        for name in sorted(self._library.folders.get(self._path, ())):
            yield _Place(self._library, f"{self._path}/{name}")

    def joinpath(self, *parts):
        return _Place(self._library, os.path.normpath("/".join((self._path, *map(str, parts)))))

    __truediv__ = joinpath

    def open(self, mode="r", *arguments, **options):
        data = io.BytesIO(self.read_bytes())
        return data if "b" in mode else io.TextIOWrapper(data, *arguments, **options)

    def read_bytes(self):
        return self._library.get_data(self._path)

    def read_text(self, encoding="utf-8"):
        return self.read_bytes().decode(encoding)


# A package that wants the path of a file of its own gets it: `open` knows these.
importlib.resources.as_file.register(_Place)(
    lambda place: contextlib.nullcontext(pathlib.Path(str(place)))
)


def _compile(module):
    with open(module.real, "rb") as file:
        return compile(file.read(), module.shown, "exec", dont_inherit=True)


def _normal(name):
    return name.lower().replace("-", "_").replace(".", "_")
