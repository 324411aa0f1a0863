"""Packages for the sandbox: wheels without native code, unpacked into one folder."""

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from . import requirements
from .errors import BuildError
from .progress import say, step
from .run import Failed, run
from .tools import tail

#: The CPython inside the component.
PYTHON_VERSION = "3.14"

#: Packages whose compiled part is only a faster twin of Python code that they hold, too.
#: Those that offer no wheel without it are taken from the one for this platform.
WITH_FALLBACK = frozenset(
    "aiohttp charset-normalizer coverage frozenlist markupsafe msgpack multidict propcache "
    "pyyaml ruamel-yaml simplejson sqlalchemy websockets wrapt yarl".split()
)
_FALLBACK_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

_NATIVE = (".so", ".pyd", ".dylib", ".dll")
#: How programs for Linux, Windows and macOS begin. A package may bring some to start them.
_EXECUTABLE = (
    b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe",
)  # fmt: skip


class Installed:
    """Packages in a folder, as the staging wants them.

    `names` are pairs of name and version, `lock` a requirements file that gives the same
    packages again.
    """

    def __init__(self, folder, names, lock):
        self.folder = folder
        self.names = names
        self.lock = lock


def install(tools, cache, wanted):
    """The packages that `wanted`, a `Requirements`, asks for. Raises `BuildError`."""
    if not wanted.lines:
        empty = cache / "python-packages-none"
        empty.mkdir(parents=True, exist_ok=True)
        return Installed(empty, [], "")
    if not wanted.is_locked:
        wanted = resolve(tools, wanted)
    digest = hashlib.sha256(f"2 {PYTHON_VERSION} {wanted.text()}".encode()).hexdigest()[:16]
    folder = cache / f"python-packages-{digest}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        with step(f"downloading {len(wanted.lines)} packages"):
            _download(tools, wanted, wheels)
        with step("unpacking packages"):
            (folder / "packages").mkdir()
            for wheel in sorted(wheels.glob("*.whl")):
                _unpack(wheel, folder / "packages")
        shutil.rmtree(wheels)
        (folder / "complete").touch()
    names = sorted(_versions(folder / "packages"))
    return Installed(folder / "packages", names, wanted.text())


def resolve(tools, wanted, without=frozenset(), instead=()):
    """Pins and hashes for requirements that have none, and for what they require.

    Packages named in `without` are left out, the pins in `instead` are added. Raises
    `BuildError`.
    """
    with step("choosing versions of packages"), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(wanted.text(), encoding="utf-8")
        report = Path(folder) / "report.json"
        try:
            _pip(tools, "install", "--dry-run", "--ignore-installed", "--report", report,
                 "--requirement", file)  # fmt: skip
        except Failed as error:
            raise BuildError(
                "requirements", f"the requirements cannot be met:\n{tail(error.output)}"
            ) from None
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {
        requirements.name(item["metadata"]["name"]): item["metadata"]["version"] for item in found
    }
    pins = [f"{name}=={version}" for name, version in versions.items() if name not in without]
    pins = sorted(pins + list(instead))
    return requirements.Requirements(wanted.options, _with_hashes(tools, wanted.options, pins))


def _with_hashes(tools, options, pins):
    """Pinned requirements with the hash of the wheel that will be used for each."""
    lines = []
    with step("fetching their hashes"), tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder)
        _download(tools, requirements.Requirements(options, pins), wheels)
        hashes = {}
        for wheel in wheels.glob("*.whl"):
            name = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
            hashes[name] = hashlib.sha256(wheel.read_bytes()).hexdigest()
        for pin in pins:
            lines.append(f"{pin} --hash=sha256:{hashes[requirements.name(pin)]}")
    return lines


def _download(tools, wanted, wheels):
    """Fetches a wheel for each requirement, and for nothing else."""
    if _fetch(tools, wanted, wanted.lines, wheels, "any") is None:
        return
    # One of them has no wheel without native code: find out which, and why.
    for line in wanted.lines:
        output = _fetch(tools, wanted, [line], wheels, "any")
        if output is None:
            continue
        package = requirements.name(line)
        if package in WITH_FALLBACK:
            if _fetch(tools, wanted, [line], wheels, *_FALLBACK_PLATFORMS) is None:
                say(f"{package}: its Python code is used, without its compiled part")
                continue
        _build_or_refuse(tools, wanted, line, wheels, output)


def _fetch(tools, wanted, lines, wheels, *platforms):
    """Downloads wheels; returns `None`, or what pip wrote when it could not."""
    options = ["--only-binary=:all:", "--python-version", PYTHON_VERSION]
    for platform in platforms:
        options += ["--platform", platform]
    native = platforms != ("any",)
    options += ["--implementation", "cp" if native else "py"]
    for abi in ("cp314", "abi3", "none") if native else ("none",):
        options += ["--abi", abi]
    return _try(tools, "download", wanted, lines, wheels, *options)


def _try(tools, command, wanted, lines, wheels, *options):
    file = wheels / "requirements.txt"
    file.write_text(wanted.text(lines), encoding="utf-8")
    hashed = ["--require-hashes"] if wanted.is_locked else []
    into = ["--dest" if command == "download" else "--wheel-dir", wheels]
    try:
        _pip(tools, command, "--no-deps", "--requirement", file, *into, *hashed, *options)
    except Failed as error:
        return error.output
    finally:
        file.unlink()
    return None


def _build_or_refuse(tools, wanted, line, wheels, output):
    """Makes a wheel of a package that has only source, or says why that is no use."""
    package = requirements.name(line)
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in output:
        raise BuildError("hashes", f"{package}: the package index has another file\n{tail(output)}")
    native = wheels / "native"
    if _try(tools, "download", wanted, [line], _made(native), "--only-binary=:all:") is None:
        wheel = next(native.glob("*.whl"))
        raise _native_code(wheel)
    with step(f"building {package}, which comes as source only"):
        built = wheels / "built"
        problem = _try(tools, "wheel", wanted, [line], _made(built), "--no-binary=:all:")
    if problem is not None:
        raise BuildError("packages", f"{package} cannot be had:\n{tail(problem)}")
    wheel = next(built.glob("*.whl"))
    if _native_files(wheel):
        raise _native_code(wheel)
    wheel.rename(wheels / wheel.name)


def _made(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _native_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return [entry for entry in archive.namelist() if entry.endswith(_NATIVE)]


def _native_code(wheel):
    package, version = wheel.name.split("-")[:2]
    files = _native_files(wheel)
    example = f" ({files[0]})" if files else ""
    return BuildError(
        "native_code",
        f"{package} {version} holds native code for one kind of machine{example}, "
        "which cannot run in WebAssembly",
        "use a package that is Python only, or an HTTP service that does the job",
    )


def _unpack(wheel, folder):
    package = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
    if package not in WITH_FALLBACK and _native_files(wheel):
        raise _native_code(wheel)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            place = entry.filename
            data = re.match(r"[^/]+\.data/([^/]+)/(.+)", place)
            if data:
                # Scripts and headers are of no use in a component.
                if data.group(1) not in ("purelib", "platlib"):
                    continue
                place = data.group(2)
            if entry.is_dir() or place.endswith(_NATIVE) or ".." in Path(place).parts:
                continue
            data = archive.read(entry)
            if data.startswith(_EXECUTABLE):
                continue
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _versions(folder):
    for metadata in folder.glob("*.dist-info/METADATA"):
        text = metadata.read_text(encoding="utf-8", errors="replace")
        found = dict(re.findall(r"^(Name|Version): (.+)$", text, re.MULTILINE))
        yield found["Name"].strip(), found["Version"].strip()


def _pip(tools, *arguments):
    return run(
        [tools.python, "-m", "pip", *arguments, "--quiet", "--no-input",
         "--disable-pip-version-check"]
    )  # fmt: skip
