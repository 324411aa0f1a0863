"""The virtual environment with the tools of the build: pip and componentize-py."""

import contextlib
import fcntl
import hashlib
import shutil
import sys
from pathlib import Path

from .errors import BuildError
from .progress import step
from .run import Failed, run

#: Pinned, and hashed for every platform that componentize-py is built for.
REQUIREMENTS = Path(__file__).with_name("tools.txt")


class Tools:
    """Where the tools are."""

    def __init__(self, folder):
        self.python = folder / "bin" / "python"
        self.componentize = folder / "bin" / "componentize-py"
        self._complete = folder / "complete"

    def are_usable(self):
        """Whether they are complete, and neither they nor their Python were moved since.

        The programs of a virtual environment know the path at which it was made.
        """
        try:
            made_at = self._complete.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return made_at == str(self.python) and self.python.exists()

    def seal(self):
        """Notes that they are complete."""
        self._complete.write_text(str(self.python), encoding="utf-8")


@contextlib.contextmanager
def locked(cache):
    """Keeps other builds away from the cache folder, which is created."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "python-build.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another build to end"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(cache):
    """The tools, installed into the cache folder if they are not there yet."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info < (3, 10):
        raise BuildError(
            "python_too_old",
            f"this is Python {version}, and the build needs 3.10 or newer",
            "install a newer python3",
        )
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache / f"python-tools-{version}-{digest}"
    tools = Tools(folder)
    if tools.are_usable():
        return tools
    shutil.rmtree(folder, ignore_errors=True)
    with step("creating a virtual environment for the build"):
        _create(folder, version)
    with step("installing componentize-py"):
        try:
            run(
                [tools.python, "-m", "pip", "install", "--quiet", "--no-input",
                 "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:",
                 "--requirement", REQUIREMENTS]
            )  # fmt: skip
        except Failed as error:
            raise BuildError(
                "tools", f"componentize-py cannot be installed:\n{tail(error.output)}"
            ) from None
    tools.seal()
    return tools


def _create(folder, version):
    try:
        run([sys.executable, "-m", "venv", folder])
    except Failed as error:
        shutil.rmtree(folder, ignore_errors=True)
        if "ensurepip" in error.output or "No module named venv" in error.output:
            raise BuildError(
                "no_venv",
                "this Python cannot create virtual environments: its venv module is not complete",
                f"apt install python{version}-venv",
            ) from None
        raise BuildError(
            "no_venv", f"a virtual environment cannot be created:\n{tail(error.output)}"
        ) from None


def tail(output):
    """The last lines of what a program wrote."""
    return "\n".join(output.strip().splitlines()[-12:])
