"""Language runtimes: components that are handed programs."""

import json

from . import component, packages, requirements, tools
from .progress import say


def build(cache, wit, name, file, output):
    """Makes the runtime `name` from a requirements file.

    A ``preload.txt`` beside that file lists modules to import into the snapshot beside
    the packages' own top-level ones. Writes ``NAME.wasm``, ``NAME.json`` and
    ``NAME.requirements.txt`` into the folder `output`, unless they are there already from
    the same input. Returns the manifest.
    """
    wanted = requirements.read(file) if file else requirements.Requirements([], [])
    extra = _modules(file.with_name("preload.txt")) if file else []
    digest = component.fingerprint(wit, wanted.text(), "\n".join(extra))
    wasm, manifest = output / f"{name}.wasm", output / f"{name}.json"
    known = _known(manifest, digest)
    if known and wasm.exists():
        return known
    with tools.locked(cache):
        installed_tools = tools.install(cache)
        installed = packages.install(installed_tools, cache, wanted)
        report = component.build(
            installed_tools, cache, wit, "runtime", installed, {"preload": extra}, {}, wasm
        )
    for module, reason in report["failed"]:
        say(f"warning: {module} cannot be imported there: {reason}")
    found = {
        "name": name,
        "language": "python",
        "version": report["version"],
        "packages": installed.names,
        "not_importable": report["failed"],
        "component": wasm.name,
        "bytes": wasm.stat().st_size,
        "input": digest,
    }
    (output / f"{name}.requirements.txt").write_text(installed.lock, encoding="utf-8")
    manifest.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def _modules(file):
    if not file.exists():
        return []
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _known(manifest, digest):
    """What a manifest says, if it was written for the same input."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("input") == digest else None
