"""componentize-py: a staged folder in, a component out."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from . import lasting
from .errors import BuildError
from .progress import step
from .run import Failed, run
from .tools import tail

#: The guest code, beside this package.
GUEST = Path(__file__).resolve().parent.parent / "tidegate_runtime"


def build(tools, cache, wit, world, installed, settings, program, output):
    """Makes a component for a world and writes it to the path `output`.

    `settings` goes into the guest's ``build.json``; `program` maps relative paths to the
    bytes of a program's files. Returns what the guest reports of itself. Raises
    `BuildError`.
    """
    stage = cache / f"python-stage-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        _stage(stage, installed, settings, program)
        return _componentize(tools, cache, wit, world, stage, output)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def fingerprint(wit, *parts):
    """A digest of the guest code, the interface, the tools, and `parts` (texts)."""
    digest = hashlib.sha256()
    for root in (GUEST, Path(__file__).parent, Path(wit)):
        for file in sorted(root.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    for part in parts:
        digest.update(f"\0{part}".encode())
    return digest.hexdigest()


def _stage(stage, installed, settings, program):
    skip = shutil.ignore_patterns("__pycache__")
    stage.mkdir(parents=True)
    shutil.copytree(GUEST, stage / "tidegate_runtime", ignore=skip)
    shutil.copytree(installed.folder, stage / "packages", ignore=skip)
    for name, data in program.items():
        file = stage / "program" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    settings = {**settings, "packages": installed.names}
    (stage / "build.json").write_text(json.dumps(settings), encoding="utf-8")


def _componentize(tools, cache, wit, world, stage, output):
    # An environment of its own: componentize-py adds that of its caller to the path.
    nothing = cache / "python-no-packages" / "lib" / "python3" / "site-packages"
    nothing.mkdir(parents=True, exist_ok=True)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIPENV"))
    }
    environment["VIRTUAL_ENV"] = str(cache / "python-no-packages")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with step(f"making the component {output.name}"):
            run(
                [tools.componentize, "--quiet", "--wit-path", wit, "--world", world,
                 "componentize", "--python-path", stage, f"tidegate_runtime.entry_{world}",
                 "--output", partial],
                environment,
                stage,
            )  # fmt: skip
            lasting.apply(partial, stage / "lasting")
        partial.replace(output)
    except Failed as error:
        raise _explain(stage, error.output) from None
    finally:
        partial.unlink(missing_ok=True)
    return json.loads((stage / "report.json").read_text(encoding="utf-8"))


def _explain(stage, output):
    """Why componentize-py failed: the program's fault, or something to be mended."""
    found = stage / "diagnostics.json"
    if found.exists():
        diagnostics = json.loads(found.read_text(encoding="utf-8"))
        first = diagnostics[0]
        place = f"{first['file']}:{first['line']}" if first["line"] else first["file"]
        return BuildError(
            "program", f"{place}: {first['message']}", first["hint"], diagnostics
        )
    # The cause is told twice, and then comes componentize-py's own stack.
    said = re.split(r"\n\s*Caused by:|\nStack backtrace:", output)[0]
    return BuildError("componentize", f"componentize-py failed:\n{tail(said)}")
