"""Workflows as components of their own: a folder with Python files in, a component out."""

import fnmatch
import hashlib
import json

from . import component, packages, requirements, tools
from .errors import BuildError
from .progress import say

#: Most bytes of a program's files together.
PROGRAM_BYTES_MAX = 16 * 1024 * 1024

#: Files of a project that are not part of the program.
_LEFT_OUT = (
    "workflow.toml request.json settings.json requirements*.txt pyproject.toml README* "
    "LICENSE* *.md *.wasm *.pyc test_*.py *_test.py conftest.py"
).split()
_FOLDERS_LEFT_OUT = frozenset(("__pycache__", "tests", "venv", "node_modules", "target", "build"))


def build(cache, wit, project, output):
    """Makes a component of the project folder and writes it to the path `output`.

    A manifest is written beside it, with the suffix ``.json``. Returns the manifest.
    """
    program = collect(project)
    entry = find_entry(program)
    file = project / "requirements.txt"
    wanted = requirements.read(file) if file.exists() else requirements.Requirements([], [])
    contents = hashlib.sha256()
    for name in sorted(program):
        contents.update(f"{name}\0{len(program[name])}\0".encode() + program[name])
    digest = component.fingerprint(wit, wanted.text(), entry, contents.hexdigest())
    manifest = output.with_suffix(".json")
    if output.exists() and manifest.exists():
        try:
            known = json.loads(manifest.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        if known.get("input") == digest:
            return known
    with tools.locked(cache):
        installed_tools = tools.install(cache)
        installed = packages.install(installed_tools, cache, wanted)
        report = component.build(
            installed_tools, cache, wit, "workflow", installed, {"entry": entry}, program, output
        )
    for module, reason in report["failed"]:
        say(f"warning: {module} cannot be imported there: {reason}")
    found = {
        "language": "python",
        "version": report["version"],
        "entry": entry,
        "packages": installed.names,
        "not_importable": report["failed"],
        "component": output.name,
        "bytes": output.stat().st_size,
        "input": digest,
    }
    manifest.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def collect(project):
    """The program's files, by path relative to the project folder. Raises `BuildError`."""
    if not project.is_dir():
        raise BuildError("project", f"there is no folder {project}")
    found, total = {}, 0
    for file in sorted(project.rglob("*")):
        inside = file.relative_to(project)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or _FOLDERS_LEFT_OUT & set(inside.parts[:-1]) or not file.is_file():
            continue
        # `tidegate new` puts the test kit there.
        if inside.parts[:2] == ("vendor", "guest-sdk"):
            continue
        if any(fnmatch.fnmatch(inside.name, pattern) for pattern in _LEFT_OUT):
            continue
        data = file.read_bytes()
        total += len(data)
        if total > PROGRAM_BYTES_MAX:
            raise BuildError(
                "project",
                f"the files of {project} have more than {PROGRAM_BYTES_MAX >> 20} MiB together",
                "keep data that large behind an HTTP service",
            )
        found[inside.as_posix()] = data
    return found


def find_entry(program):
    """The file that defines ``workflow``. Raises `BuildError`."""
    top = [name for name in program if name.endswith(".py") and "/" not in name]
    for name in ("workflow.py", "main.py"):
        if name in top:
            return name
    if len(top) == 1:
        return top[0]
    raise BuildError(
        "project",
        "there is no workflow.py in the folder" if not top else
        f"it is not clear which of {', '.join(top)} has the function 'workflow'",
        "name it workflow.py",
    )  # fmt: skip
