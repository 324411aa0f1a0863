"""A user's program: source to code object, code object to module, module to function."""

import importlib.util
import inspect
import linecache
import marshal
import sys
import types
from importlib.machinery import ModuleSpec

from .text import with_article

#: Begins every compiled program. Bytecode is valid for one minor version of CPython.
MAGIC = b"tidegate-python-1\0" + importlib.util.MAGIC_NUMBER

#: Parameters of the function ``workflow`` in each kind.
PARAMETERS = {"catch": ("_request", "settings"), "pull": ("settings",)}


class ProgramError(Exception):
    """The program cannot be run. Says why, and perhaps what to do (`hint`)."""

    def __init__(self, message, hint=None, line=0):
        super().__init__(message)
        self.hint = hint
        self.line = line


def compile_source(file, source):
    """Compiles a program and returns it as bytes. Raises what `compile` raises."""
    code = compile(source.removeprefix("\ufeff"), file, "exec", dont_inherit=True)
    return MAGIC + marshal.dumps(code)


def load_code(data):
    """The code object in what `compile_source` made. Raises `ProgramError`."""
    if not data.startswith(MAGIC):
        raise ProgramError(
            "the program was compiled by another runtime", "deploy its source again"
        )
    try:
        return marshal.loads(memoryview(data)[len(MAGIC) :])
    except (EOFError, TypeError, ValueError):
        raise ProgramError("the compiled program is damaged", "deploy its source again") from None


class _Origin:
    """The loader of a program's module: has no more to do than to know the source."""

    def __init__(self, source):
        self._source = source

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        raise ImportError(f"{module.__name__} cannot be loaded twice")

    def get_source(self, name):
        return self._source()


def new_module(file, source):
    """An empty module for the program of the file `file`, known to ``sys.modules``.

    `source` is a function that returns the source; it is called only when a traceback
    is printed.
    """
    base = file.rpartition("/")[2]
    name = base.rpartition(".")[0] or base
    if not name.isidentifier() or name in sys.modules:
        name = "workflow"
    spec = ModuleSpec(name, _Origin(source), origin=file)
    module = types.ModuleType(name)
    module.__spec__ = spec
    module.__loader__ = spec.loader
    module.__file__ = file
    sys.modules[name] = module
    # The lines of another program of that name, where the process outlives a run.
    linecache.cache.pop(file, None)
    return module


def entry(module, kind):
    """The function ``workflow`` of an executed module. Raises `ProgramError`."""
    function = getattr(module, "workflow", None)
    if callable(function):
        return function
    wanted = f"define {_wanted(kind)}"
    if function is None:
        raise ProgramError("there is no function named 'workflow'", wanted)
    raise ProgramError(
        f"'workflow' is {with_article(type(function).__name__)}, not a function", wanted
    )


def check_entry(module, kind):
    """Raises `ProgramError` when ``workflow`` does not have the form of its kind."""
    function = entry(module, kind)
    wanted = _wanted(kind)
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = code.co_firstlineno if code else 0
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ProgramError(
            "'workflow' is a coroutine function",
            f"define {wanted} and call asyncio.run(...) in it",
            line,
        )
    if inspect.isgeneratorfunction(function):
        raise ProgramError(
            "'workflow' is a generator: it yields and so never runs", "return instead", line
        )
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*PARAMETERS[kind])
    except TypeError:
        raise ProgramError(
            f"a {kind} workflow is called with {_count(kind)}, "
            f"and this one is workflow{_names(signature)}",
            _other_kind(signature, kind) or f"define {wanted}",
            line,
        ) from None


def check_annotations(module):
    """Raises the `NameError` of an annotation that names nothing.

    CPython 3.14 evaluates annotations only when asked (PEP 649), so that such a name
    would not fail there and would on the developer's older Python.
    """
    for value in list(vars(module).values()):
        if isinstance(value, (types.FunctionType, type)) and value.__module__ == module.__name__:
            annotate = getattr(value, "__annotate__", None)
            if annotate is None:
                continue
            try:
                annotate(1)  # annotationlib.Format.VALUE
            except NameError:
                raise
            except Exception:
                continue


def _signature(function):
    """The signature of a callable, its annotations left alone; `None` if it has none."""
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            return inspect.signature(
                function, annotation_format=annotationlib.Format.FORWARDREF
            )
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _wanted(kind):
    return f"def workflow({', '.join(PARAMETERS[kind])}):"


def _count(kind):
    names = PARAMETERS[kind]
    return f"{len(names)} argument{'s' if len(names) > 1 else ''} ({', '.join(names)})"


def _names(signature):
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(bare))


def _other_kind(signature, kind):
    other = "pull" if kind == "catch" else "catch"
    try:
        signature.bind(*PARAMETERS[other])
    except TypeError:
        return None
    return f"deploy it as a {other}, or define it with {_count(kind)}"
