"""A program inside a component: a folder of modules, compiled when it is built."""

import ast
import importlib.machinery
import os
import sys

from . import diagnostics, program
from .diagnostics import Diagnostic


#: The folder in which a program finds its data files: that of its ``__file__``.
ROOT = "/program"


class Bundle:
    """The modules of a program; the finder and loader of all but the first.

    Nothing of the program runs before a run does: the snapshot holds code objects, and
    each run executes them afresh.
    """

    def __init__(self, folder, entry):
        """Reads the files below `folder`.

        `entry` is the file that defines ``workflow``, relative to `folder`.
        """
        self.entry = entry
        #: The program's data files, by absolute path.
        self.files = {}
        #: File and source of each module, by the module's name.
        self.modules = {}
        self._codes = {}
        self._packages = set()
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache")))
            inside = place[len(folder) :].strip("/")
            for name in sorted(names):
                file = f"{inside}/{name}" if inside else name
                with open(f"{folder}/{file}", "rb") as opened:
                    data = opened.read()
                if name.endswith(".py"):
                    self._add(file, data.decode("utf-8-sig"))
                else:
                    self.files[f"{ROOT}/{file}"] = data

    def _add(self, file, source):
        name = file.removesuffix(".py").replace("/", ".")
        if name.rpartition(".")[2] == "__init__":
            name = name.rpartition(".")[0]
            self._packages.add(name)
        if name and all(part.isidentifier() for part in name.split(".")):
            self.modules[name] = (file, source)

    def compile(self, taken, importable):
        """Compiles all modules. Returns what is wrong with them, as `Diagnostic`s.

        `taken` are names of modules that a program cannot replace, `importable` is a
        function that gives the names of those that it can import.
        """
        found = []
        for name, (file, source) in self.modules.items():
            if name in taken and "." not in name:
                message = f"the module name {name!r} is taken by the library"
                found.append(Diagnostic(file, message=message, hint="rename the file"))
            try:
                tree = ast.parse(source, file)
                self._codes[name] = compile(tree, file, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
                found.append(diagnostics.of_syntax(file, error, source))
                continue
            found += self._missing(file, source, tree, importable)
            if file == self.entry and not _defines(tree, "workflow"):
                error = program.ProgramError(
                    "there is no function named 'workflow'", "define it, or import it there"
                )
                found.append(diagnostics.of_program(file, error, lambda source=source: source))
        return found

    def _missing(self, file, source, tree, importable):
        """Imports at a module's top level that no run could do."""
        own = {name.partition(".")[0] for name in self.modules}
        for statement in tree.body:
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                names = [statement.module]
            else:
                continue
            for name in names:
                top = name.partition(".")[0]
                if top not in own and top not in importable() and top not in sys.modules:
                    yield Diagnostic(
                        file,
                        statement.lineno,
                        statement.col_offset + 1,
                        f"ModuleNotFoundError: No module named {name!r}",
                        source.splitlines()[statement.lineno - 1],
                        diagnostics.missing_module(name, importable(), _REQUIRE),
                    )

    def load(self):
        """Executes the program and returns its module."""
        name = self.entry.removesuffix(".py")
        module = program.new_module(self.entry, lambda: self.modules[name][1])
        module.__file__ = f"{ROOT}/{self.entry}"
        exec(self._codes[name], module.__dict__)
        return module

    # Finder and loader

    def find_spec(self, name, path=None, target=None):
        if name not in self._codes:
            return None
        spec = importlib.machinery.ModuleSpec(
            name, self, origin=f"{ROOT}/{self.modules[name][0]}", is_package=name in self._packages
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
        return self.modules[name][1]

    def is_package(self, name):
        return name in self._packages


_REQUIRE = "add its package to the project's requirements.txt"


def _defines(tree, name):
    """Whether a module's top level binds a name."""
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = [statement.name]
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names = [alias.asname or alias.name for alias in statement.names]
        else:
            # Assignments, and whatever may be in an if or a try.
            names = [
                node.id if isinstance(node, ast.Name) else getattr(node, "name", None)
                for node in ast.walk(statement)
                if not isinstance(node, ast.Name) or isinstance(node.ctx, ast.Store)
            ]
        if name in names or "*" in names:
            return True
    return False
